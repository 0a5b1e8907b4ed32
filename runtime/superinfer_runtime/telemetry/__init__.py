"""From the scheduler's snapshots to OpenTelemetry.

`snapshot` -> `meters` -> `otlp` (pushed) and `prometheus_face` (scraped).
"""
