"""Telemetry by way of a collector: a runtime's exporter, a real collector, the operator's receiver.

The collector is the reader's, its configuration the chart's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import Authority
from collector_process import ADDRESS, Collector, configuration, relaying
from loopback_server import serving as serving_app
from otlp_requests import gauges
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_contract.metrics import STEP_TIME
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.tls import TlsFiles
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import Intake, Outcome, Receipt, Transport
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.receiver import serving
from superinfer_operator.telemetry.rejection import Rejected
from superinfer_runtime.telemetry.otlp import meter_provider

pytestmark = pytest.mark.cluster

PROTOBUF = {"content-type": "application/x-protobuf"}
TOKENS = {"Bearer of-chat": "team/chat", "Bearer of-code": "team/code"}


class Operator:
    """What arrived at the operator's receiver, whose only services are those of `TOKENS`."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.receipts: list[Receipt] = []

    def take(self, points: list[Point]) -> Rejected:
        self.points += points
        return Rejected()

    @asynccontextmanager
    async def receiving(self, files: TlsFiles | None = None) -> AsyncIterator[str]:
        intake = Intake(lambda header: TOKENS.get(header or ""), self.take, self.receipts.append)
        async with serving(intake, bind(ADDRESS, 0), files) as url:
            yield url

    @property
    def values(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for point in self.points:
            found.setdefault(point.source.service, []).append(point.value)
        return found


class Backend:
    """The reader's own, which notes what it is sent."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.app = Starlette(routes=[Route("/v1/metrics", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        return Response(b"", media_type=PROTOBUF["content-type"])


def report(config: TelemetryConfig, protocol: str, value: float) -> None:
    """Send one gauge as a runtime does, and stop."""
    provider = meter_provider(config, {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert provider is not None
    provider.get_meter("test").create_gauge(STEP_TIME.name).set(value)
    provider.shutdown(timeout_millis=5_000)


async def send(collector: Collector, authorization: str | None) -> int:
    """Send a request as any client might; return the answer's status."""
    headers = PROTOBUF | ({} if authorization is None else {"authorization": authorization})
    body = gauges("pod", 1).SerializeToString()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{collector.http}/v1/metrics", content=body, headers=headers)
    return answer.status_code


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_each_runtime_speaks_for_its_own_service(tmp_path: Path, protocol: str) -> None:
    operator = Operator()
    async with (
        operator.receiving() as url,
        relaying(tmp_path, configuration({}), url) as collector,
    ):
        for number, name in enumerate(("chat", "code", "chat"), 1):
            token = tmp_path / f"token-{name}"
            token.write_text(f"of-{name}\n")
            endpoint = collector.grpc if protocol == "grpc" else collector.http
            config = TelemetryConfig(otlp_endpoint=endpoint, otlp_token_file=token)
            await asyncio.to_thread(report, config, protocol, float(number))
    assert operator.values == {"team/chat": [1.0, 3.0], "team/code": [2.0]}


async def test_the_operator_s_refusal_is_heard_and_hurts_nobody_else(tmp_path: Path) -> None:
    operator = Operator()
    async with (
        operator.receiving() as url,
        relaying(tmp_path, configuration({}), url) as collector,
    ):
        refused = [await send(collector, each) for each in ("Bearer stolen", None)]
        taken = await send(collector, "Bearer of-chat")
    assert (refused, taken) == ([401, 401], 200)
    assert [each.outcome for each in operator.receipts] == [
        Outcome.UNAUTHENTICATED,
        Outcome.UNAUTHENTICATED,
        Outcome.ACCEPTED,
    ]
    assert {each.transport for each in operator.receipts} == {Transport.HTTP}


async def test_a_backend_gets_the_same_and_no_token(tmp_path: Path) -> None:
    operator, backend = Operator(), Backend()
    with serving_app(backend.app) as backend_url:
        exporters = {"otlphttp/own": {"endpoint": backend_url, "headers": {"api-key": "own"}}}
        config = configuration({"exporters": exporters})
        async with operator.receiving() as url, relaying(tmp_path, config, url) as collector:
            assert await send(collector, "Bearer of-chat") == 200
    assert list(operator.values) == ["team/chat"]
    (headers,) = backend.headers
    assert headers["api-key"] == "own"
    assert "authorization" not in headers


async def test_with_tls_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    authority = Authority(tmp_path)
    pair = authority.server("operator", ["operator"], [ADDRESS])
    own = authority.server("collector", ["collector"], [ADDRESS])
    receiver: dict[str, Any] = {"cert_file": str(own.public), "key_file": str(own.key)}
    config = configuration(
        {"receiverTls": receiver, "caFile": str(authority.file)},
        otlpEndpoint="https://collector:4318",
        tls={"enabled": True},
    )
    token = tmp_path / "token"
    token.write_text("of-chat")
    operator = Operator()
    async with (
        operator.receiving(TlsFiles(pair.public, pair.key)) as url,
        relaying(tmp_path, config, url) as collector,
    ):
        runtime = TelemetryConfig(
            otlp_endpoint=collector.http, otlp_token_file=token, otlp_ca_file=authority.file
        )
        await asyncio.to_thread(report, runtime, "http/protobuf", 0.5)
    assert operator.values == {"team/chat": [0.5]}
