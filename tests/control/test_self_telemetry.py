"""The operator's own metrics and traces: scraped, and pushed where the standard variables say."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_contract.prometheus import series
from superinfer_contract.validation import ConfigError
from superinfer_operator.self_telemetry import OperatorMetrics, OperatorTraces
from superinfer_operator.self_telemetry.instruments import ALL
from superinfer_operator.telemetry.http_server import bind, serving_app
from superinfer_operator.telemetry.ingest import Outcome, Receipt, Transport

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Collector:
    """Takes pushes over HTTP."""

    url: str = ""
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    traces: list[ExportTraceServiceRequest] = field(default_factory=list)

    async def take_metrics(self, request: Request) -> Response:
        self.metrics.append(ExportMetricsServiceRequest.FromString(await request.body()))
        return Response()

    async def take_traces(self, request: Request) -> Response:
        self.traces.append(ExportTraceServiceRequest.FromString(await request.body()))
        return Response()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.traces
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    collector = Collector()
    routes = [
        Route("/v1/metrics", collector.take_metrics, methods=["POST"]),
        Route("/v1/traces", collector.take_traces, methods=["POST"]),
    ]
    async with serving_app(Starlette(routes=routes), bind("127.0.0.1", 0)) as url:
        collector.url = url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield collector


async def scrape(metrics: OperatorMetrics, accept: str = "") -> httpx.Response:
    app = Starlette(routes=[metrics.metrics_route()])
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://operator"
    ) as client:
        return await client.get("/metrics", headers={"accept": accept})


async def samples(metrics: OperatorMetrics) -> Samples:
    text = (await scrape(metrics)).text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def use(metrics: OperatorMetrics) -> None:
    """Let everything happen once or twice."""
    metrics.reconciled("ok", 0.02)
    metrics.reconciled("ok", 0.3)
    metrics.reconciled("error", 7.0)
    metrics.api_called("patch", "deployments", 200)
    metrics.decided("GrowDRAM", "sent")
    metrics.received(Receipt(Transport.GRPC, Outcome.ACCEPTED, 40, 2))
    metrics.received(Receipt(Transport.HTTP, Outcome.UNAUTHENTICATED))
    metrics.series_held(3)
    metrics.services(3)
    metrics.services(2)
    metrics.pods_silent(1)
    metrics.watch_lag(0.5)


async def test_everything_that_happened_can_be_scraped() -> None:
    metrics = OperatorMetrics.create({})
    use(metrics)
    found = await samples(metrics)
    prefix = "superinfer_operator_"
    for name, labels, value in [
        ("reconciles_total", {"outcome": "ok"}, 2),
        ("reconciles_total", {"outcome": "error"}, 1),
        ("reconcile_duration_seconds_count", {"outcome": "ok"}, 2),
        ("reconcile_duration_seconds_bucket", {"outcome": "ok", "le": "0.025"}, 1),
        (
            "api_requests_total",
            {"verb": "patch", "resource": "deployments", "code": "200"},
            1,
        ),
        ("decisions_total", {"rung": "GrowDRAM", "outcome": "sent"}, 1),
        ("otlp_points_total", {"outcome": "accepted"}, 40),
        ("otlp_points_total", {"outcome": "rejected"}, 2),
        ("otlp_requests_total", {"transport": "grpc", "outcome": "accepted"}, 1),
        ("otlp_requests_total", {"transport": "http", "outcome": "unauthenticated"}, 1),
        ("services", {}, 2),
        ("pods_silent", {}, 1),
        ("watch_lag_seconds", {}, 0.5),
    ]:
        assert found[(prefix + name, tuple(sorted(labels.items())))] == value
    assert found[("process_resident_memory_bytes", ())] > 0


async def test_what_has_not_happened_counts_zero() -> None:
    found = await samples(OperatorMetrics.create({}))
    zero = {name for (name, _), value in found.items() if name.endswith("_total") and value == 0}
    prefix = "superinfer_operator_"
    counted = ("reconciles_total", "otlp_points_total", "otlp_requests_total")
    assert {prefix + name for name in counted} <= zero
    assert (f"{prefix}reconciles_total", (("outcome", "error"),)) in found


async def test_names_are_those_that_rules_and_dashboards_are_checked_against() -> None:
    metrics = OperatorMetrics.create({})
    use(metrics)
    told = {name for instrument in ALL for name in series(instrument)}
    found = {name for name, _ in await samples(metrics) if name.startswith("superinfer_")}
    assert found == told


async def test_the_list_names_all_and_only_what_is_sent(collector: Collector) -> None:
    metrics = OperatorMetrics.create()
    use(metrics)
    await asyncio.to_thread(metrics.shutdown)
    (request,) = collector.metrics
    (of_resource,) = request.resource_metrics
    (of_scope,) = of_resource.scope_metrics
    sent = {metric.name: metric for metric in of_scope.metrics}
    assert set(sent) == {instrument.name for instrument in ALL}
    for instrument in ALL:
        metric = sent[instrument.name]
        assert (metric.unit, metric.description) == (instrument.unit, instrument.description)
        data = getattr(metric, metric.WhichOneof("data"))
        keys = {item.key for point in data.data_points for item in point.attributes}
        assert keys == set(instrument.labels)
    resource = {item.key: item.value.string_value for item in of_resource.resource.attributes}
    assert resource["service.name"] == "superinfer-operator"


async def test_openmetrics_is_spoken_to_those_who_ask_for_it() -> None:
    metrics = OperatorMetrics.create({})
    use(metrics)
    answer = await scrape(metrics, accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics_families(answer.text)}
    assert "superinfer_operator_reconciles" in names


async def test_two_operators_in_one_process_do_not_meet() -> None:
    one, other = OperatorMetrics.create({}), OperatorMetrics.create({})
    one.services(1)
    other.services(2)
    assert (await samples(one))[("superinfer_operator_services", ())] == 1


async def test_spans_are_pushed_with_what_went_wrong(collector: Collector) -> None:
    traces = OperatorTraces.create()
    with traces.reconcile("team/chat"), traces.turn("team/chat"):
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError), traces.turn("team/chat"):
        raise RuntimeError("no answer")
    await asyncio.to_thread(traces.shutdown)
    turn, reconcile, failed = collector.spans
    assert turn.parent_span_id == reconcile.span_id
    assert turn.name == "superinfer.operator.turn"
    assert reconcile.name == "superinfer.operator.reconcile"
    assert turn.attributes[0].value.string_value == "team/chat"
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert "no answer" in failed.status.message


@pytest.mark.parametrize("off", [{}, {"OTEL_METRICS_EXPORTER": "none"}])
async def test_nothing_is_pushed_unless_told_to(collector: Collector, off: dict[str, str]) -> None:
    environment = {**off, "OTEL_TRACES_EXPORTER": "none"}
    if off:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    metrics, traces = OperatorMetrics.create(environment), OperatorTraces.create(environment)
    use(metrics)
    with traces.reconcile("team/chat"):
        pass
    await asyncio.to_thread(metrics.shutdown)
    await asyncio.to_thread(traces.shutdown)
    assert (collector.metrics, collector.traces) == ([], [])


def test_an_unknown_protocol_is_refused() -> None:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
    }
    for create in (OperatorMetrics.create, OperatorTraces.create):
        with pytest.raises(ConfigError, match="choose http/protobuf or grpc"):
            create(environment)
