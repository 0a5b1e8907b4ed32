"""An exporter whose failures are told once, not at every interval.

A collector that is down must neither disturb serving nor fill the log: the SDK's own records about
a failing export (and their tracebacks) are dropped while ours runs, one warning says in the first
one's words that it began and one line that it is over. Other exporters of the process keep their
logging.
"""

import logging
import threading
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

logger = logging.getLogger("vllm.superinfer.telemetry")

_NOISY_LOGGERS = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
)
_MAX_REASON_CHARS = 600
_ours = threading.local()


class QuietExporter(MetricExporter):
    """Wraps ``exporter``; `export` never raises."""

    def __init__(self, exporter: MetricExporter) -> None:
        super().__init__(
            preferred_temporality=exporter._preferred_temporality,
            preferred_aggregation=exporter._preferred_aggregation,
        )
        self._exporter = exporter
        self._failing = False
        for name in _NOISY_LOGGERS:
            # addFilter ignores a filter that is there already.
            logging.getLogger(name).addFilter(_not_ours)

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        _ours.exporting, _ours.said = True, ""
        try:
            result = self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)
            reason = _ours.said or "refused or not reachable"
        except Exception as error:  # whatever it is, serving goes on
            result, reason = MetricExportResult.FAILURE, f"{type(error).__name__}: {error}"
        finally:
            _ours.exporting = False
        failed = result is not MetricExportResult.SUCCESS
        if failed and not self._failing:
            logger.warning("telemetry cannot be delivered (%s); still trying", reason)
        elif self._failing and not failed:
            logger.info("telemetry is delivered again")
        self._failing = failed
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._exporter.shutdown(timeout_millis)


def _not_ours(record: logging.LogRecord) -> bool:
    if not getattr(_ours, "exporting", False):
        return True
    if not _ours.said:
        _ours.said = record.getMessage().splitlines()[0][:_MAX_REASON_CHARS]
    return False
