"""Both OTLP receivers with the real SDK's exporters, and with senders that behave badly."""

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import grpc
import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as OtlpResource
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from superinfer_contract.metrics import SLO_MAX_LAG, SLO_REQUESTS, STEP_TIME, TTFT
from superinfer_operator.telemetry import receiver as receiver_module
from superinfer_operator.telemetry.authentication import one_token, service_tokens
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import (
    MAX_BODY_BYTES,
    Intake,
    Outcome,
    Receipt,
    Transport,
)
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.receiver import PATH, PROTOBUF, serving
from superinfer_operator.telemetry.registry import Registry
from superinfer_operator.telemetry.rejection import Reason, Rejected
from superinfer_operator.tokens import Purpose, fleet_token, service_token

KEY = b"k" * 32
CHAT = service_token(KEY, Purpose.OTLP, "team", "chat")
SPOOF = {"service.namespace": "team", "service.name": "batch", "k8s.pod.name": "chat-0"}


@dataclass
class Served:
    """A receiver on a port of its own, and all that it handed on."""

    transport: Transport
    port: int
    registry: Registry
    points: list[Point] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

    def exporter(self, token: str | None, gzipped: bool, delta: bool = False) -> MetricExporter:
        """The exporter that a runtime would use."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        temporality = {Counter: AggregationTemporality.DELTA} if delta else {}
        if self.transport is Transport.HTTP:
            return HttpExporter(
                f"http://127.0.0.1:{self.port}{PATH}",
                headers=headers,
                compression=Compression.Gzip if gzipped else Compression.NoCompression,
                preferred_temporality=temporality,
            )
        return GrpcExporter(
            f"127.0.0.1:{self.port}",
            insecure=True,
            headers=headers,
            compression=grpc.Compression.Gzip if gzipped else grpc.Compression.NoCompression,
            preferred_temporality=temporality,
            timeout=3,
        )

    async def send(
        self, request: ExportMetricsServiceRequest, token: str, gzipped: bool = False
    ) -> ExportMetricsServiceResponse | None:
        """The answer to ``request``; None if it is refused."""
        if self.transport is Transport.HTTP:
            body = request.SerializeToString()
            headers = {"content-encoding": "gzip"} if gzipped else {}
            answer = await self.post(gzip.compress(body) if gzipped else body, token, **headers)
            if answer.status_code == 200:
                return ExportMetricsServiceResponse.FromString(answer.content)
            assert Status.FromString(answer.content).message
            return None
        compression = grpc.Compression.Gzip if gzipped else None
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{self.port}", compression=compression
        ) as channel:
            try:
                taken = await MetricsServiceStub(channel).Export(
                    request, metadata=[("authorization", f"Bearer {token}")], timeout=10
                )
            except grpc.aio.AioRpcError:
                return None
            assert isinstance(taken, ExportMetricsServiceResponse)
            return taken

    async def post(self, body: bytes, token: str = CHAT, **headers: str) -> httpx.Response:
        standard = {"authorization": f"Bearer {token}", "content-type": PROTOBUF}
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(
                f"http://127.0.0.1:{self.port}{PATH}", content=body, headers={**standard, **headers}
            )


@contextlib.asynccontextmanager
async def served(transport: Transport) -> AsyncIterator[Served]:
    found = Served(transport, 0, Registry())

    def sink(points: list[Point]) -> Rejected:
        found.points += points
        return found.registry.add(points, now_s=1.0)

    intake = Intake(service_tokens(lambda: [KEY]), sink, found.receipts.append)
    found.registry.register("team/chat", window_s=30, stale_s=15)
    if transport is Transport.HTTP:
        async with serving(intake, bind("127.0.0.1", 0)) as url:
            found.port = int(url.rpartition(":")[2])
            yield found
    else:
        async with serving_grpc(intake, "127.0.0.1:0") as port:
            found.port = port
            yield found


@pytest.fixture(params=list(Transport))
async def receiver(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with served(request.param) as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[Served]:
    async with served(Transport.HTTP) as found:
        yield found


def report(make: Callable[[], MetricExporter], **resource: str) -> None:
    """Count, gauge and time something, and push it."""
    reader = PeriodicExportingMetricReader(make(), export_interval_millis=3_600_000)
    of_pod = {"service.name": "chat", "service.instance.id": "chat-0", **resource}
    provider = MeterProvider([reader], Resource(of_pod), shutdown_on_exit=False)
    meter = provider.get_meter("test")
    labels = {"superinfer.slo.class": "a", "superinfer.slo.outcome": "good"}
    meter.create_counter(SLO_REQUESTS.name).add(3, labels)
    meter.create_gauge(SLO_MAX_LAG.name).set(0.5, {"superinfer.slo.class": "a"})
    meter.create_histogram(TTFT.name).record(1.0)
    meter.create_counter("somebody.elses").add(1)
    provider.shutdown(5_000)


def gauges(resource: dict[str, str], count: int = 1, text: str = "") -> ExportMetricsServiceRequest:
    """A request with ``count`` series of one gauge."""
    points = [
        NumberDataPoint(
            time_unix_nano=1,
            as_double=1.0,
            attributes=[KeyValue(key="n", value=AnyValue(string_value=f"{n}{text}"))],
        )
        for n in range(count)
    ]
    metric = Metric(name=STEP_TIME.name, gauge=Gauge(data_points=points))
    attributes = [
        KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in resource.items()
    ]
    return ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=OtlpResource(attributes=attributes),
                scope_metrics=[ScopeMetrics(metrics=[metric])],
            )
        ]
    )


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("shape", [Shape.CUMULATIVE, Shape.DELTA])
async def test_the_sdk_is_understood(receiver: Served, gzipped: bool, shape: Shape) -> None:
    await asyncio.to_thread(
        report, lambda: receiver.exporter(CHAT, gzipped, delta=shape is Shape.DELTA)
    )
    found = {point.metric: point for point in receiver.points}
    assert set(found) == {SLO_REQUESTS.name, SLO_MAX_LAG.name}
    counted, lag = found[SLO_REQUESTS.name], found[SLO_MAX_LAG.name]
    assert counted.source == lag.source == Source("team/chat", "chat-0")
    assert counted.attributes == (
        ("superinfer.slo.class", "a"),
        ("superinfer.slo.outcome", "good"),
    )
    assert (counted.value, counted.shape) == (3.0, shape)
    assert 0 < counted.start_ns <= counted.time_ns
    assert (lag.value, lag.shape) == (0.5, Shape.GAUGE)
    assert receiver.receipts == [Receipt(receiver.transport, Outcome.ACCEPTED, 2, 0)]


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "wrong",
        CHAT[:-1],
        service_token(KEY, Purpose.ADMIN, "team", "chat"),
        service_token(b"another key" * 4, Purpose.OTLP, "team", "chat"),
    ],
    ids=["none", "empty", "wrong", "cut", "admin", "other key"],
)
async def test_without_the_token_nothing_is_taken(receiver: Served, token: str | None) -> None:
    await asyncio.to_thread(report, lambda: receiver.exporter(token, gzipped=False))
    assert receiver.points == []
    assert receiver.receipts == [Receipt(receiver.transport, Outcome.UNAUTHENTICATED)]


async def test_the_token_says_whose_points_they_are(receiver: Served) -> None:
    await asyncio.to_thread(lambda: report(lambda: receiver.exporter(CHAT, gzipped=False), **SPOOF))
    assert {point.source for point in receiver.points} == {Source("team/chat", "chat-0")}


async def test_the_fleet_s_token_lets_resources_say_whose_they_are(receiver: Served) -> None:
    request = ExportMetricsServiceRequest()
    chat = {"service.namespace": "team", "service.name": "chat", "k8s.pod.name": "chat-0"}
    for resource in (
        chat,
        {**chat, "service.name": "unknown"},
        {"service.name": "chat", "k8s.pod.name": "chat-0"},
        {"service.namespace": "team", "k8s.pod.name": "chat-0"},
    ):
        request.MergeFrom(gauges(resource))
    answer = await receiver.send(request, fleet_token(KEY))
    assert answer is not None
    assert answer.partial_success.rejected_data_points == 3
    assert answer.partial_success.error_message == (
        f"2 points: {Reason.NO_SERVICE}; 1 points: {Reason.UNKNOWN_SERVICE}"
    )
    windows = receiver.registry.windows("team/chat")
    assert windows is not None
    assert windows.sources("team/chat") == [Source("team/chat", "chat-0")]
    assert receiver.receipts == [Receipt(receiver.transport, Outcome.ACCEPTED, 1, 3)]


async def test_an_unregistered_service_is_told_so(receiver: Served) -> None:
    token = service_token(KEY, Purpose.OTLP, "team", "gone")
    answer = await receiver.send(gauges(SPOOF, count=7), token)
    assert answer is not None
    assert answer.partial_success.rejected_data_points == 7
    assert Reason.UNKNOWN_SERVICE in answer.partial_success.error_message


async def test_full_success_has_no_partial_success(receiver: Served) -> None:
    for request in (ExportMetricsServiceRequest(), gauges(SPOOF)):
        answer = await receiver.send(request, CHAT)
        assert answer is not None
        assert not answer.HasField("partial_success")


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip bomb"])
async def test_too_large_is_refused(receiver: Served, gzipped: bool) -> None:
    request = gauges(SPOOF, text="x" * MAX_BODY_BYTES)
    assert await receiver.send(request, CHAT, gzipped) is None
    assert receiver.points == []
    assert await receiver.send(gauges(SPOOF), CHAT) is not None


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
async def test_bad_bodies_are_refused_in_otlp(
    http: Served, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await http.post(body, **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROTOBUF
    assert Status.FromString(answer.content).message
    assert http.points == []
    assert http.receipts == [Receipt(Transport.HTTP, Outcome.REFUSED)]


async def test_a_body_that_does_not_come_is_given_up(
    http: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "BODY_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    head = f"POST {PATH} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {CHAT}\r\n"
    writer.write(f"{head}content-type: {PROTOBUF}\r\ncontent-length: 9\r\n\r\n".encode())
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_garbage_over_grpc_does_no_harm() -> None:
    async with served(Transport.GRPC) as receiver:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{receiver.port}") as channel:
            raw = channel.unary_unary(
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await raw(b"no protobuf", metadata=[("authorization", f"Bearer {CHAT}")])
        assert await receiver.send(gauges(SPOOF), CHAT) is not None


async def test_one_token_is_for_one_service() -> None:
    authenticate = one_token("secret", "demo")
    assert authenticate("Bearer secret") == authenticate("bearer  secret ") == "demo"
    for header in (None, "", "secret", "Basic secret", "Bearer ", "Bearer Secret"):
        assert authenticate(header) is None
    assert one_token("", "demo")("Bearer ") is None


async def test_a_taken_port_is_an_error_at_once() -> None:
    intake = Intake(one_token("t", "s"), lambda _: Rejected())
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="cannot listen"):
            async with serving_grpc(intake, f"127.0.0.1:{port}"):
                pass
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", port)
