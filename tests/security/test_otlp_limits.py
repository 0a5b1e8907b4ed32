"""What one sender may have of the operator: series, bytes a second, memory for bodies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from otlp_requests import gauges
from superinfer_operator.self_telemetry import OperatorMetrics
from superinfer_operator.telemetry import receiver as receiver_module
from superinfer_operator.telemetry.authentication import one_token
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import MAX_HEAD_BYTES, bind
from superinfer_operator.telemetry.ingest import Intake, Outcome, Receipt, Transport
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.reading import MAX_ATTRIBUTES_CHARS, read_points
from superinfer_operator.telemetry.receiver import PATH, PROTOBUF, serving
from superinfer_operator.telemetry.registry import Registry
from superinfer_operator.telemetry.rejection import Reason, Rejected
from superinfer_operator.telemetry.series_room import SeriesRoom
from superinfer_operator.telemetry.throttle import FLEET_FACTOR, Throttle
from superinfer_operator.telemetry.windows import Windows

CHAT, BATCH = "team/chat", "team/batch"
HEADERS = {"authorization": "Bearer token", "content-type": PROTOBUF}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Operator:
    """Takes telemetry of one service, at most 1,000 bytes a second and 5,000 at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.receipts: list[Receipt] = []
        self.registry = Registry()
        self.registry.register(CHAT, window_s=30, stale_s=15)
        self.intake = Intake(
            one_token("token", CHAT),
            self.take,
            self.receipts.append,
            Throttle(1_000, 5_000, self.clock),
        )

    def take(self, points: list[Point]) -> Rejected:
        return self.registry.add(points, self.clock())


@asynccontextmanager
async def over_http(operator: Operator) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(operator.intake, bind("127.0.0.1", 0)) as url,
        httpx.AsyncClient(base_url=url, headers=HEADERS, trust_env=False) as http,
    ):
        yield http


def body(count: int, pod: str = "chat-0", time_ns: int = 1) -> bytes:
    return gauges(pod, count, time_ns=time_ns).SerializeToString()


async def test_a_sender_of_too_much_is_told_when_to_come_again() -> None:
    operator = Operator()
    async with over_http(operator) as http:
        report = body(60)
        assert 1_500 < len(report) < 2_500
        answers = [await http.post(PATH, content=report) for _ in range(4)]

        assert answers[0].status_code == 200
        refused = answers[-1]
        assert refused.status_code == 429
        wait_s = int(refused.headers["retry-after"])
        assert "more telemetry than is read" in Status.FromString(refused.content).message
        operator.clock.now_s += wait_s
        assert (await http.post(PATH, content=report)).status_code == 200
    assert Receipt(Transport.HTTP, Outcome.THROTTLED) in operator.receipts


async def test_by_grpc_too_with_what_makes_a_sender_try_again() -> None:
    operator = Operator()
    async with (
        serving_grpc(operator.intake, "127.0.0.1:0") as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        export = MetricsServiceStub(channel).Export
        token = [("authorization", "Bearer token")]
        await export(gauges("chat-0", 60), metadata=token)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(gauges("chat-0", 120), metadata=token)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]
    (detail,) = Status.FromString(details).details
    retry = RetryInfo()
    assert detail.Unpack(retry)
    assert retry.retry_delay.seconds > 0
    assert Receipt(Transport.GRPC, Outcome.THROTTLED) in operator.receipts


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3_000), st.floats(0, 3)), max_size=30
    )
)
def test_no_sender_gets_more_than_its_rate_or_is_held_up_by_another(
    sent: list[tuple[str, int, float]],
) -> None:
    clock = Clock()
    both, alone = Throttle(1_000, 5_000, clock), Throttle(1_000, 5_000, clock)
    start_s, admitted = clock.now_s, 0
    for sender, num_bytes, pause_s in sent:
        clock.now_s += pause_s
        wait_s = both.wait_s(sender, num_bytes)
        if sender == "a":
            assert wait_s == alone.wait_s(sender, num_bytes)
            admitted += 0 if wait_s else num_bytes
    assert admitted <= 5_000 + 1_000 * (clock.now_s - start_s) + 1e-6


def test_the_fleet_s_collector_may_bring_more() -> None:
    throttle = Throttle(1_000, 5_000, Clock())
    assert throttle.wait_s("team/chat", 5_001) > 0
    assert throttle.wait_s("*/*", 5_000 * FLEET_FACTOR) == 0


async def test_what_all_send_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_HELD_BYTES", 150_000)
    operator, more = Operator(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"\0" * 100_000
        await more.wait()

    async with over_http(operator) as http:
        first = asyncio.create_task(http.post(PATH, content=slowly()))
        async with asyncio.timeout(10):
            while (busy := await http.post(PATH, content=b"\0" * 100_000)).status_code != 503:
                await asyncio.sleep(0.05)
        assert int(busy.headers["retry-after"]) > 0
        more.set()
        assert (await first).status_code == 429  # its own sender brought too much by then
        assert (await http.post(PATH, content=b"")).status_code == 200


async def test_a_head_beyond_the_limit_is_refused() -> None:
    async with over_http(Operator()) as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
        writer.write(b"POST / HTTP/1.1\r\nx-long: " + b"a" * MAX_HEAD_BYTES)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_series_beyond_a_service_s_room_are_refused_by_name() -> None:
    operator = Operator()
    windows = Windows(30, 15, SeriesRoom.of_all().of_a_service(limit=50))
    operator.registry._windows[CHAT] = windows  # with a small room
    async with over_http(operator) as http:
        answer = await http.post(PATH, content=body(60))
        told = ExportMetricsServiceResponse.FromString(answer.content).partial_success
        assert told.rejected_data_points == 10
        assert told.error_message == f"10 points: {Reason.TOO_MANY_SERIES_OF_SERVICE}"
        operator.clock.now_s += 5
        again = await http.post(PATH, content=body(50, time_ns=2))
        assert not ExportMetricsServiceResponse.FromString(again.content).HasField(
            "partial_success"
        )


def points(service: str, count: int, pod: str = "p") -> list[Point]:
    return read_points(gauges(pod, count), service).points


def test_all_services_together_have_a_room_that_is_given_back() -> None:
    room = SeriesRoom.of_all(limit=100)
    chat, batch = (Windows(30, 15, room.of_a_service(limit=80)) for _ in range(2))
    assert chat.add(points(CHAT, 90), 0) == {Reason.TOO_MANY_SERIES_OF_SERVICE: 10}
    assert batch.add(points(BATCH, 30), 0) == {Reason.NO_ROOM: 10}
    assert room.held == 100
    chat.keep_only(())
    assert room.held == 20
    assert not chat.add(points(CHAT, 30), 1)
    batch.add(points(BATCH, 1, pod="other"), 10_000)  # by now the silent pod is forgotten
    assert room.held == 31


def test_a_service_that_goes_leaves_no_series() -> None:
    registry = Registry()
    registry.register(CHAT, 30, 15).add(points(CHAT, 7), 0)
    assert registry.num_series == 7
    registry.unregister(CHAT)
    assert registry.num_series == 0


def test_attributes_are_bounded_together_too() -> None:
    def request(num_attributes: int) -> ExportMetricsServiceRequest:
        made = gauges("chat-0", 1)
        (point,) = made.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
        for number in range(num_attributes):
            point.attributes.add(key=f"k{number}").value.string_value = "v" * 250
        return made

    assert len(read_points(request(1), CHAT).points) == 1
    assert MAX_ATTRIBUTES_CHARS < 3 * 250
    assert read_points(request(3), CHAT).rejected == {Reason.BAD_ATTRIBUTES: 1}


async def test_what_is_refused_is_counted_in_the_operator_s_own_metrics() -> None:
    metrics = OperatorMetrics.create({})
    operator = Operator()
    operator.intake = Intake(
        one_token("token", CHAT), operator.take, metrics.received, Throttle(10, 10, Clock())
    )
    async with over_http(operator) as http:
        await http.post(PATH, content=body(60))
        await http.post(PATH, content=b"\xff")
    route = metrics.metrics_route()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(route.app), base_url="http://operator"
    ) as scraper:
        text = (await scraper.get("/metrics")).text
    metrics.shutdown()
    for outcome in ("throttled", "refused"):
        assert f'requests_total{{outcome="{outcome}",transport="http"}} 1.0' in text
