"""Writes docs/reference/metrics.md from the contract: python tools/docs/metrics_reference.py"""

from collections.abc import Iterable
from pathlib import Path

from superinfer_contract.metrics import ALL, Kind, Metric
from superinfer_contract.prometheus import series
from superinfer_operator.self_telemetry import instruments

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def reference() -> str:
    """Return the page."""
    lines = [
        "# Metrics",
        "",
        "Generated from `superinfer_contract.metrics` and the operator's",
        "`self_telemetry.instruments`; a test compares. Prometheus' labels are the attributes,",
        "with underscores for dots.",
        "",
        "## Runtime",
        "",
        "Pushed by OTLP (`telemetry.otlp_endpoint` or the `OTEL_EXPORTER_OTLP_*` variables), and",
        "scraped at `/metrics` of the serving port, beside vLLM's own metrics.",
        "",
        *_table((metric, metric.attributes) for metric in ALL),
        "",
        "## Operator",
        "",
        "Scraped at `/metrics` of port 8080, and pushed where the `OTEL_EXPORTER_OTLP_*` variables",
        "say so.",
        "",
        *_table((instrument, instrument.labels) for instrument in instruments.ALL),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Iterable[tuple[Metric | instruments.Instrument, tuple[str, ...]]]) -> list[str]:
    lines = [
        "| OpenTelemetry | Prometheus | kind | unit | attributes | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for metric, attributes in rows:
        shown = series(metric)
        face = f"`{shown[0].removesuffix('_bucket')}`" + (
            ", `_bucket`, `_count`, `_sum`" if metric.kind is Kind.HISTOGRAM else ""
        )
        told = ", ".join(f"`{attribute}`" for attribute in attributes)
        cells = (f"`{metric.name}`", face, metric.kind, f"`{metric.unit}`", told)
        lines.append(f"| {' | '.join(cells)} | {metric.description} |")
    return lines


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference())
