"""Snapshots to feed meters with, and the real collectors' side of OTLP on loopback."""

from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from loopback_server import serving
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_runtime.telemetry.snapshot import (
    EngineSnapshot,
    FinishSample,
    LinkSnapshot,
    TierSnapshot,
    TransferTotals,
    TtftSample,
)

HBM = TierSnapshot(0, 100, 90, 80, 50, 30, 10)
DRAM = TierSnapshot(0, 1000, 900, 800, 500, 300, 10)


@pytest.fixture
def snapshot() -> EngineSnapshot:
    return EngineSnapshot(
        rotation_off_reason=None,
        hbm=HBM,
        dram=DRAM,
        num_running=3,
        num_waiting=2,
        num_rotary=1,
        out=TransferTotals(7, 700, 0.7, 1e9),
        into=TransferTotals(6, 600, 0.6, None),
        link=LinkSnapshot(4e9, 3e9, 5e9, crossover_bytes=1 << 20),
        copy_failures=8,
        rotation_stalls=4,
        recompute_preemptions=5,
        step_time_s=0.02,
        max_lag_s={"all": 1.5},
        class_shares={"chat": 1.0, "batch": 0.5},
        ttft_samples=(TtftSample("chat", 0.3, True), TtftSample("batch", 70.0, False)),
        finish_samples=(
            FinishSample("chat", 0.03, 2.0, tbt_good=True, joint_good=True),
            FinishSample("batch", None, 71.0, tbt_good=True, joint_good=False),
        ),
    )


@dataclass
class Collector:
    """What arrived: requests and the headers they came with."""

    endpoint: str = ""
    requests: list[ExportMetricsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    fails: bool = False

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.requests.append(ExportMetricsServiceRequest.FromString(body))
        self.headers.append(headers)

    @property
    def names(self) -> set[str]:
        return {
            metric.name
            for request in self.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def resource(self) -> dict[str, str]:
        attributes = self.requests[-1].resource_metrics[0].resource.attributes
        return {attribute.key: attribute.value.string_value for attribute in attributes}


@pytest.fixture
def http_collector() -> Iterator[Collector]:
    collector = Collector()

    async def receive(request: Request) -> Response:
        if collector.fails:
            return Response(status_code=400)
        collector.take(await request.body(), dict(request.headers))
        answer = ExportMetricsServiceResponse().SerializeToString()
        return Response(answer, media_type="application/x-protobuf")

    app = Starlette(routes=[Route("/v1/metrics", receive, methods=["POST"])])
    with serving(app) as url:
        collector.endpoint = url
        yield collector


@pytest.fixture
def grpc_collector() -> Iterator[Collector]:
    collector = Collector()

    class Servicer(MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> ExportMetricsServiceResponse:
            collector.take(request.SerializeToString(), dict(context.invocation_metadata()))
            return ExportMetricsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    add_MetricsServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    collector.endpoint = f"http://127.0.0.1:{port}"
    yield collector
    server.stop(1).wait(5)


@pytest.fixture
def otel_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Clear the standard variables; returns how to set one."""
    import os

    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch.setenv
