"""Whether and how the operator's own telemetry is pushed: OpenTelemetry's standard variables.

Nothing is pushed unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its form for one signal) is set. All
other variables (headers, certificate, timeout, compression, interval) the SDK reads itself.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from enum import StrEnum

from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from superinfer_contract.validation import ConfigError

SHUTDOWN_TIMEOUT_S = 3.0


class Protocol(StrEnum):
    """The ways to push that are spoken."""

    HTTP = "http/protobuf"
    GRPC = "grpc"


def metric_reader(environment: Mapping[str, str]) -> MetricReader | None:
    """Return what pushes metrics; None: nowhere to push to.

    Raises:
        ConfigError: a protocol that is not spoken.
    """
    protocol = _protocol("METRICS", environment)
    if protocol is None:
        return None
    # Imported here, because each brings a client that is needed only if it is chosen.
    if protocol is Protocol.GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
            OTLPMetricExporter as GrpcExporter,
        )

        return PeriodicExportingMetricReader(GrpcExporter())
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def span_processor(environment: Mapping[str, str]) -> SpanProcessor | None:
    """Return what pushes spans; None: nowhere to push to.

    Raises:
        ConfigError: a protocol that is not spoken.
    """
    protocol = _protocol("TRACES", environment)
    if protocol is None:
        return None
    if protocol is Protocol.GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        return BatchSpanProcessor(GrpcExporter())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


def resource() -> Resource:
    """Return what names this operator; ``OTEL_RESOURCE_ATTRIBUTES`` and the like come first."""
    own = {SERVICE_NAME: "superinfer-operator", SERVICE_INSTANCE_ID: str(uuid.uuid4())}
    return Resource.create(own).merge(OTELResourceDetector().detect())


def end(shutdown: Callable[[], object]) -> None:
    """Let an SDK send what is left, for at most `SHUTDOWN_TIMEOUT_S`.

    The SDK's own time-outs add up to more than a terminating pod has.
    """
    ending = threading.Thread(target=shutdown, daemon=True)
    ending.start()
    ending.join(SHUTDOWN_TIMEOUT_S)


def _protocol(signal: str, environment: Mapping[str, str]) -> Protocol | None:
    def first(*names: str) -> str:
        return next((environment[name] for name in names if environment.get(name)), "")

    if first(f"OTEL_{signal}_EXPORTER") == "none":
        return None
    if not first(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    chosen = first(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    try:
        return Protocol(chosen or Protocol.HTTP)
    except ValueError as error:
        spoken = " or ".join(Protocol)
        raise ConfigError(f"OTLP protocol {chosen!r} is not spoken; choose {spoken}") from error
