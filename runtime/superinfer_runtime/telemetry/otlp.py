"""OTLP push: which exporter, where to, and never in the way of serving.

The configuration's endpoint and headers come first, the standard ``OTEL_EXPORTER_OTLP_*`` variables
apply where it is silent, and with neither nothing is exported. Headers may carry a bearer token:
they stay in this process and reach neither vLLM's configuration (which it logs) nor the environment
(which the engine's processes inherit).
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    OTELResourceDetector,
    Resource,
)
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.validation import ConfigError

from superinfer_runtime.telemetry.quiet_exporter import QuietExporter

SHUTDOWN_TIMEOUT_S = 3.0

_HTTP = "http/protobuf"
_GRPC = "grpc"
_HTTP_PATH = "/v1/metrics"
_ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def meter_provider(
    config: TelemetryConfig, environment: Mapping[str, str] = os.environ
) -> MeterProvider | None:
    """Return a provider that only pushes; None: nothing to push to.

    Raises:
        ConfigError: as `push_reader`.
    """
    pushing = push_reader(config, environment)
    return None if pushing is None else provider_for(config, [pushing])


def push_reader(
    config: TelemetryConfig, environment: Mapping[str, str] = os.environ
) -> MetricReader | None:
    """Return what pushes every ``config.interval_s``; None: nothing to push to.

    Raises:
        ConfigError: a protocol that is not spoken, or a file that cannot be used.
    """
    if not config.otlp_endpoint and not _first(environment, _ENDPOINT_VARIABLES):
        return None
    return PeriodicExportingMetricReader(
        QuietExporter(_exporter(config, environment)),
        export_interval_millis=config.interval_s * 1000,
    )


def provider_for(config: TelemetryConfig, readers: Sequence[MetricReader]) -> MeterProvider:
    """Return a provider under the names that ``config`` gives this process."""
    return MeterProvider(readers, _resource(config), shutdown_on_exit=False)


def shutdown(provider: MeterProvider) -> None:
    """Send what is left and stop; takes at most `SHUTDOWN_TIMEOUT_S`."""
    provider.shutdown(timeout_millis=SHUTDOWN_TIMEOUT_S * 1000)


def http_endpoint(base: str) -> str:
    """Return the full metrics URL below a collector's base URL."""
    base = base.rstrip("/")
    return base if base.endswith(_HTTP_PATH) else base + _HTTP_PATH


def _exporter(config: TelemetryConfig, environment: Mapping[str, str]) -> MetricExporter:
    protocol = _first(environment, _PROTOCOL_VARIABLES) or _HTTP
    headers = {
        name.lower(): value.get_secret_value() for name, value in config.otlp_headers.items()
    }
    if config.otlp_token_file is not None:
        token = _content(config.otlp_token_file, "otlp_token_file")
        headers["authorization"] = f"Bearer {token.decode()}"
    # Without any, None: the exporter reads the standard variables by itself.
    if protocol == _GRPC:
        from grpc import ssl_channel_credentials  # type: ignore[import-untyped]
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
            OTLPMetricExporter as GrpcExporter,
        )

        credentials = None
        if config.otlp_ca_file is not None:
            credentials = ssl_channel_credentials(_content(config.otlp_ca_file, "otlp_ca_file"))
        return GrpcExporter(
            endpoint=config.otlp_endpoint, headers=headers or None, credentials=credentials
        )
    if protocol == _HTTP:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
            OTLPMetricExporter as HttpExporter,
        )

        endpoint = http_endpoint(config.otlp_endpoint) if config.otlp_endpoint else None
        ca_file = None
        if config.otlp_ca_file is not None:
            _content(config.otlp_ca_file, "otlp_ca_file")  # a missing file is told at the start
            ca_file = str(config.otlp_ca_file)
        return HttpExporter(endpoint=endpoint, headers=headers or None, certificate_file=ca_file)
    raise ConfigError(f"OTLP protocol {protocol!r} is not spoken; choose {_HTTP} or {_GRPC}")


def _content(file: Path, field: str) -> bytes:
    try:
        content = file.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"telemetry.{field}: {file}: {error.strerror}") from error
    if not content:
        raise ConfigError(f"telemetry.{field}: {file} is empty")
    return content


def _resource(config: TelemetryConfig) -> Resource:
    own = {SERVICE_NAME: "superinfer", SERVICE_INSTANCE_ID: str(uuid.uuid4())}
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES over our own, the configuration over both.
    from_environment = OTELResourceDetector().detect()
    return Resource.create(own).merge(from_environment).merge(Resource(dict(config.resource)))


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)
