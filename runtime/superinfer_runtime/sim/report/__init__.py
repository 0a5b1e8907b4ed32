"""From simulated runs to figures, tables, pictures and pages."""
