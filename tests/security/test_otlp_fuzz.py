"""Anything at all sent to the receivers: a clear status, nothing broken, nothing infinite."""

import gzip
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

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


@settings(max_examples=400)
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
