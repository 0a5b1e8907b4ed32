"""From the scheduler's snapshots to OpenTelemetry: `snapshot` -> `meters` -> `otlp`, `prometheus_face`."""
