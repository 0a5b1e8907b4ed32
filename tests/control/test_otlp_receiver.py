"""The OTLP receivers with the real SDK's exporters, and with senders that behave badly."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from superinfer_contract.metrics import SLO_MAX_LAG, SLO_REQUESTS, TTFT
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import MAX_BODY_BYTES
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.receiver import PATH, PROTOBUF, serving

TOKEN = "token"
HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": PROTOBUF}
Make = Callable[[], MetricExporter]


class Http:
    """A served receiver: its URL and what it got."""

    def __init__(self, url: str) -> None:
        self.url = url + PATH
        self.points: list[Point] = []

    async def post(self, body: bytes, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(self.url, content=body, headers={**HEADERS, **headers})


@pytest.fixture
async def receiver() -> AsyncIterator[Http]:
    points: list[Point] = []
    async with serving(points.extend, TOKEN, bind("127.0.0.1", 0)) as url:
        http = Http(url)
        http.points = points
        yield http


def report(make: Make) -> bool:
    """Count, gauge and time something, push it, and say whether the push was taken."""
    reader = PeriodicExportingMetricReader(make(), export_interval_millis=3_600_000)
    resource = Resource({"service.name": "chat", "service.instance.id": "chat-0"})
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = provider.get_meter("test")
    labels = {"superinfer.slo.class": "a", "superinfer.slo.outcome": "good"}
    meter.create_counter(SLO_REQUESTS.name).add(3, labels)
    meter.create_gauge(SLO_MAX_LAG.name).set(0.5, {"superinfer.slo.class": "a"})
    meter.create_histogram(TTFT.name).record(1.0)
    meter.create_counter("somebody.elses").add(1)
    taken = provider.force_flush(5_000)
    provider.shutdown()
    return taken


def check(points: list[Point], shape: Shape = Shape.CUMULATIVE) -> None:
    found = {point.metric: point for point in points}
    assert set(found) == {SLO_REQUESTS.name, SLO_MAX_LAG.name}
    counted, lag = found[SLO_REQUESTS.name], found[SLO_MAX_LAG.name]
    assert counted.source == lag.source == Source("chat", "chat-0")
    assert counted.attributes == (
        ("superinfer.slo.class", "a"),
        ("superinfer.slo.outcome", "good"),
    )
    assert (counted.value, counted.shape) == (3.0, shape)
    assert 0 < counted.start_ns <= counted.time_ns
    assert (lag.value, lag.shape) == (0.5, Shape.GAUGE)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_the_sdk_over_http(receiver: Http, compression: Compression) -> None:
    def make() -> MetricExporter:
        return OTLPMetricExporter(
            receiver.url,
            headers={"authorization": f"Bearer {TOKEN}"},
            compression=compression,
            preferred_temporality={Counter: AggregationTemporality.DELTA},
        )

    assert await asyncio.to_thread(report, make)
    check(receiver.points[:2], Shape.DELTA)


async def test_the_sdk_over_grpc() -> None:
    points: list[Point] = []
    async with serving_grpc(points.extend, TOKEN, "127.0.0.1:0") as port:

        def make(token: str) -> MetricExporter:
            return GrpcExporter(
                f"127.0.0.1:{port}",
                insecure=True,
                headers={"authorization": f"Bearer {token}"},
                timeout=3,
            )

        assert await asyncio.to_thread(report, lambda: make(TOKEN))
        check(points[:2])
        points.clear()
        await asyncio.to_thread(report, lambda: make("wrong"))
        assert points == []
        with pytest.raises(OSError, match="cannot listen"):
            async with serving_grpc(points.extend, TOKEN, f"127.0.0.1:{port}"):
                pass


async def test_answers_are_otlp_even_to_an_empty_request(receiver: Http) -> None:
    answer = await receiver.post(ExportMetricsServiceRequest().SerializeToString())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == PROTOBUF
    ExportMetricsServiceResponse.FromString(answer.content)


@pytest.mark.parametrize("header", ["", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
async def test_without_the_token_nothing_is_taken(receiver: Http, header: str) -> None:
    assert (await receiver.post(b"", authorization=header)).status_code == 401


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"no protobuf", {}, 400),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (gzip.compress(b"\0" * 99)[:-4], {"content-encoding": "gzip"}, 400),
        (b"", {"content-encoding": "br"}, 400),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"\0" * (MAX_BODY_BYTES + 1), {}, 413),
        (gzip.compress(b"\0" * (MAX_BODY_BYTES + 1)), {"content-encoding": "gzip"}, 413),
    ],
    ids=["protobuf", "gzip", "cut gzip", "encoding", "json", "large", "gzip bomb"],
)
async def test_bad_bodies_are_refused(
    receiver: Http, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await receiver.post(body, **headers)).status_code == status
    assert receiver.points == []
