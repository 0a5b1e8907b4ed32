"""OTLP push over HTTP and gRPC to a real receiver, and to none."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from pydantic import SecretStr
from superinfer_contract import metrics
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.slo import PAPER_DEFAULT_CLASS
from superinfer_contract.validation import ConfigError
from superinfer_runtime.telemetry.meters import SloMeters
from superinfer_runtime.telemetry.otlp import http_endpoint, meter_provider, shutdown
from superinfer_runtime.telemetry.quiet_exporter import QuietExporter
from superinfer_runtime.telemetry.snapshot import EngineSnapshot

SetVariable = Callable[[str, str], None]
TOKEN = {"Authorization": SecretStr("Bearer secret")}


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is logged, whether or not vLLM (once imported) keeps its loggers from the root."""
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "vllm"):
        yield caplog


def push(config: TelemetryConfig, snapshot: EngineSnapshot) -> None:
    """Record one snapshot; shutting down sends it, long before the interval ends."""
    provider = meter_provider(config)
    assert provider is not None
    SloMeters(provider.get_meter("test"), (PAPER_DEFAULT_CLASS,), "tiny", True).record(snapshot)
    shutdown(provider)


def test_http_with_a_bearer_token(
    http_collector: Any, snapshot: EngineSnapshot, otel_environment: SetVariable
) -> None:
    config = TelemetryConfig(
        otlp_endpoint=http_collector.endpoint,
        otlp_headers=TOKEN,
        interval_s=3600,
        resource={"service.name": "chatbot"},
    )
    push(config, snapshot)
    assert http_collector.names == {metric.name for metric in metrics.ALL}
    assert http_collector.headers[0]["authorization"] == "Bearer secret"
    assert http_collector.resource["service.name"] == "chatbot"
    assert http_collector.resource["service.instance.id"]


def test_grpc_by_the_standard_variable(
    grpc_collector: Any, snapshot: EngineSnapshot, otel_environment: SetVariable
) -> None:
    otel_environment("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    config = TelemetryConfig(
        otlp_endpoint=grpc_collector.endpoint, otlp_headers=TOKEN, interval_s=3600
    )
    push(config, snapshot)
    assert grpc_collector.names == {metric.name for metric in metrics.ALL}
    assert grpc_collector.headers[0]["authorization"] == "Bearer secret"


def test_the_standard_variables_alone_suffice(
    http_collector: Any, snapshot: EngineSnapshot, otel_environment: SetVariable
) -> None:
    otel_environment("OTEL_EXPORTER_OTLP_ENDPOINT", http_collector.endpoint)
    otel_environment("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a")
    otel_environment("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-env,zone=z")
    push(TelemetryConfig(interval_s=3600, resource={"zone": "y"}), snapshot)
    assert http_collector.headers[0]["x-tenant"] == "a"
    assert http_collector.resource["service.name"] == "from-env"
    assert http_collector.resource["zone"] == "y"


def test_it_pushes_at_its_interval(
    http_collector: Any, snapshot: EngineSnapshot, otel_environment: SetVariable
) -> None:
    import threading

    config = TelemetryConfig(otlp_endpoint=http_collector.endpoint, interval_s=0.05)
    provider = meter_provider(config)
    assert provider is not None
    SloMeters(provider.get_meter("test"), (PAPER_DEFAULT_CLASS,), "tiny", True).record(snapshot)
    pause = threading.Event()
    for _ in range(1000):
        if len(http_collector.requests) >= 2:
            break
        pause.wait(0.01)
    shutdown(provider)
    assert len(http_collector.requests) >= 2


def test_with_nowhere_to_push_to_there_is_no_provider(otel_environment: SetVariable) -> None:
    assert meter_provider(TelemetryConfig()) is None


def test_an_unknown_protocol_is_refused(otel_environment: SetVariable) -> None:
    otel_environment("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "carrier-pigeon")
    with pytest.raises(ConfigError, match="carrier-pigeon"):
        meter_provider(TelemetryConfig(otlp_endpoint="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    "base",
    ["http://c:4318", "http://c:4318/", "http://c:4318/v1/metrics", "http://c:4318/v1/metrics/"],
)
def test_the_endpoint_is_a_base_url(base: str) -> None:
    assert http_endpoint(base) == "http://c:4318/v1/metrics"


def test_a_refusing_collector_is_warned_about_once(
    http_collector: Any,
    snapshot: EngineSnapshot,
    otel_environment: SetVariable,
    heard: Any,
) -> None:
    http_collector.fails = True
    provider = meter_provider(
        TelemetryConfig(otlp_endpoint=http_collector.endpoint, interval_s=3600)
    )
    assert provider is not None
    SloMeters(provider.get_meter("test"), (PAPER_DEFAULT_CLASS,), "tiny", True).record(snapshot)
    for _ in range(3):
        provider.force_flush()
    http_collector.fails = False
    shutdown(provider)
    said = [record.getMessage() for record in heard.records]
    assert said == [
        "telemetry cannot be delivered (Failed to export metrics batch code: 400, "
        "reason: Bad Request); still trying",
        "telemetry is delivered again",
    ]


class Raising(MetricExporter):
    """An exporter that fails in a way of its own, and logs about it as the SDK's do."""

    def export(self, *_: Any, **__: Any) -> MetricExportResult:
        logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").error("noise")
        raise RuntimeError("broken")

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        return None


def test_an_exporter_that_raises_disturbs_nothing(heard: Any) -> None:
    exporter = QuietExporter(Raising())
    assert exporter.export(None) is MetricExportResult.FAILURE  # type: ignore[arg-type]
    assert [record.getMessage() for record in heard.records] == [
        "telemetry cannot be delivered (RuntimeError: broken); still trying"
    ]
    # Another exporter's records are not ours to drop.
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").error("heard")
    assert heard.records[-1].getMessage() == "heard"
