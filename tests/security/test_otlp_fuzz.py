"""Anything at all sent to the receivers: a clear status, nothing broken, nothing infinite."""

import gzip
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_server import serving
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from otlp_requests import REQUESTS, mutated
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_operator.self_telemetry import OperatorMetrics
from superinfer_operator.telemetry.authentication import service_tokens
from superinfer_operator.telemetry.ingest import Intake, Transport
from superinfer_operator.telemetry.points import Point, Source
from superinfer_operator.telemetry.receiver import PATH, PROTOBUF, app
from superinfer_operator.telemetry.registry import Registry
from superinfer_operator.telemetry.rejection import Rejected
from superinfer_operator.tokens import Purpose, fleet_token, service_token

KEY = b"k" * 32
SERVICE = "team/chat"
TOKENS = [service_token(KEY, Purpose.OTLP, "team", "chat"), fleet_token(KEY)]


class Operator:
    """What stands behind the receivers."""

    def __init__(self) -> None:
        self.registry = Registry()
        windows = self.registry.register(SERVICE, window_s=30, stale_s=15)
        self.windows = windows
        self.intake = Intake(service_tokens(lambda: [KEY]), self.take)

    def take(self, points: list[Point]) -> Rejected:
        return self.registry.add(points, time.monotonic())

    def check(self) -> None:
        """What is held can be looked at, and holds only figures."""
        held = self.windows.sources(SERVICE)
        assert self.registry.num_series >= len(held) > -1
        for source in held[-3:]:
            self.look(source)

    def look(self, source: Source) -> None:
        seen = self.windows.snapshot(source, time.monotonic())
        figures = [*seen.gauges.values(), *seen.rises.values()]
        assert all(math.isfinite(figure) for figure in figures)
        for share in seen.shares.values():
            assert 0 <= share.good <= share.total


@dataclass(frozen=True, slots=True)
class Receiver:
    operator: Operator
    http: httpx.Client


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    operator = Operator()
    with (
        serving(app(operator.intake)) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        yield Receiver(operator, http)


BODIES = st.binary(max_size=300) | mutated(REQUESTS.map(lambda each: each.SerializeToString()))
PACKED = mutated(BODIES.map(lambda body: gzip.compress(body, mtime=0))) | BODIES
ENCODINGS = st.sampled_from([None, "gzip", "identity", "br", "GZIP", ""])
TYPES = st.sampled_from([PROTOBUF, PROTOBUF, PROTOBUF, "application/json", ""])


@settings(max_examples=300)
@given(body=PACKED, encoding=ENCODINGS, kind=TYPES, token=st.sampled_from([*TOKENS, "wrong", "é"]))
def test_any_body_gets_a_clear_answer(
    receiver: Receiver, body: bytes, encoding: str | None, kind: str, token: str
) -> None:
    headers = {"authorization": f"Bearer {token}".encode(), "content-type": kind.encode()}
    if encoding is not None:
        headers["content-encoding"] = encoding.encode()
    answer = receiver.http.post(PATH, content=body, headers=headers)

    assert answer.status_code in (200, 400, 401, 413, 415, 429), answer.content
    assert (answer.status_code == 401) is (token not in TOKENS)
    if answer.status_code == 200:
        told = ExportMetricsServiceResponse.FromString(answer.content).partial_success
        assert bool(told.rejected_data_points) is bool(told.error_message)
    else:
        assert Status.FromString(answer.content).message
    receiver.operator.check()


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PURGE"]
PATHS = st.sampled_from(["/healthz", "/metrics", PATH, "/", "//metrics", "/healthz/"]) | st.text(
    max_size=20
).map(lambda text: "/" + quote(text, safe="/?&=.;"))
HEADERS = st.dictionaries(
    st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True).filter(
        lambda name: name.lower() not in ("content-length", "transfer-encoding", "host", "expect")
    ),
    # The client itself refuses to send control characters.
    st.lists(st.integers(33, 126) | st.integers(128, 255), max_size=20).map(bytes),
    max_size=5,
)


@pytest.fixture(scope="module")
def operators() -> Iterator[list[httpx.Client]]:
    """Both HTTP faces of the operator: the receiver, and health with metrics."""
    metrics = OperatorMetrics.create({})

    async def healthy(_: Request) -> Response:
        return Response()

    face = Starlette(routes=[Route("/healthz", healthy), metrics.metrics_route()])
    with (
        serving(app(Operator().intake)) as telemetry,
        serving(face) as health,
        httpx.Client(base_url=telemetry, trust_env=False) as first,
        httpx.Client(base_url=health, trust_env=False) as second,
    ):
        yield [first, second]
    metrics.shutdown()


@settings(max_examples=150)
@given(
    face=st.integers(0, 1),
    method=st.sampled_from(METHODS),
    path=PATHS,
    headers=HEADERS,
    body=st.binary(max_size=20),
)
def test_any_request_is_answered_without_a_server_error(
    operators: list[httpx.Client],
    face: int,
    method: str,
    path: str,
    headers: dict[str, bytes],
    body: bytes,
) -> None:
    sent = {name.encode(): value for name, value in headers.items()}
    answer = operators[face].request(method, path, headers=sent, content=body)
    assert answer.status_code < 500


@settings(max_examples=200)
@given(request=REQUESTS, identity=st.sampled_from([SERVICE, "*/*"]))
def test_every_point_of_any_request_is_taken_or_counted_as_rejected(
    request: ExportMetricsServiceRequest, identity: str
) -> None:
    operator = Operator()
    answer = operator.intake.take(request, identity, Transport.GRPC)
    num_points = sum(
        len(getattr(metric, metric.WhichOneof("data")).data_points)
        for of_resource in request.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        if metric.WhichOneof("data")
    )
    assert answer.partial_success.rejected_data_points <= num_points
    operator.check()
