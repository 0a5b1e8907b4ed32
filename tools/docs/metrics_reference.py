"""Writes docs/reference/metrics.md from the contract: python tools/docs/metrics_reference.py"""

from pathlib import Path

from superinfer_contract.metrics import ALL

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def reference() -> str:
    """Return the page."""
    lines = [
        "# Metrics",
        "",
        "Generated from `superinfer_contract.metrics`; a test compares. Sent by OTLP push",
        "(`telemetry.otlp_endpoint` or the standard `OTEL_EXPORTER_OTLP_*` variables). `/metrics`",
        "keeps vLLM's own Prometheus names.",
        "",
        "| name | kind | unit | attributes | meaning |",
        "|---|---|---|---|---|",
    ]
    for metric in ALL:
        attributes = ", ".join(f"`{attribute}`" for attribute in metric.attributes)
        cells = (f"`{metric.name}`", metric.kind, f"`{metric.unit}`", attributes)
        lines.append(f"| {' | '.join(cells)} | {metric.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference())
