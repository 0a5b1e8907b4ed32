"""Telemetry by way of a collector: a runtime's exporter, a real collector, the operator's receiver.

The collector is the reader's, its configuration the chart's.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from certificates import Authority
from collector_process import ADDRESS, Collector, config_map, configuration, relaying, validate
from documents import blocks
from loopback_server import serving as serving_app
from otlp_requests import gauges
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.tls import TlsFiles
from superinfer_operator.telemetry.authentication import service_tokens
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import Intake, Outcome, Transport
from superinfer_operator.telemetry.receiver import serving
from superinfer_operator.tokens import Purpose, service_token
from telemetry_ends import Received, listen_to_vllm, report

pytestmark = pytest.mark.cluster

PROTOBUF = {"content-type": "application/x-protobuf"}
KEY = b"k" * 32
FORGED = service_token(b"other" * 8, Purpose.OTLP, "team", "chat")


def token(name: str) -> str:
    """What the operator gives the service ``team/name``."""
    return service_token(KEY, Purpose.OTLP, "team", name)


class Operator(Received):
    """What arrived at the operator's receiver, which knows the tokens of `KEY`."""

    @asynccontextmanager
    async def receiving(self, files: TlsFiles | None = None) -> AsyncIterator[str]:
        intake = Intake(service_tokens(lambda: [KEY]), self.take, self.receipts.append)
        async with serving(intake, bind(ADDRESS, 0), files) as url:
            yield url

    @property
    def values(self) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for point in self.points:
            found.setdefault(point.source.service, []).append(point.value)
        return {service: sorted(values) for service, values in found.items()}


class Backend:
    """The reader's own, which notes what it is sent."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.app = Starlette(routes=[Route("/v1/metrics", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        return Response(b"", media_type=PROTOBUF["content-type"])


def telemetry(endpoint: str, folder: Path, bearer: str, **more: Any) -> TelemetryConfig:
    """A runtime's, with its token in a file as the operator mounts it."""
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write(f"{bearer}\n")
    return TelemetryConfig(otlp_endpoint=endpoint, otlp_token_file=Path(file.name), **more)


async def send(collector: Collector, bearer: str | None) -> int:
    """Send a request as any client might; return the answer's status."""
    headers = PROTOBUF | ({} if bearer is None else {"authorization": f"Bearer {bearer}"})
    body = gauges("pod", 1).SerializeToString()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{collector.http}/v1/metrics", content=body, headers=headers)
    return answer.status_code


def test_what_the_guide_shows_is_valid_and_fits_together(tmp_path: Path) -> None:
    values, of_collector = map(yaml.safe_load, blocks("docs/guides/collector.md", "yaml"))
    made = config_map(values)
    config = yaml.safe_load(made["data"]["relay"])
    validate(tmp_path, config)
    exporters = ["otlphttp/superinfer", "otlphttp/backend"]
    assert config["service"]["pipelines"]["metrics"]["exporters"] == exporters
    assert of_collector["configMap"]["existingName"] == made["metadata"]["name"]
    host = f"{of_collector['fullnameOverride']}.{made['metadata']['namespace']}.svc"
    assert values["otlpEndpoint"] == f"http://{host}:4318"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_each_of_many_at_once_speaks_for_its_own_service(
    tmp_path: Path, protocol: str
) -> None:
    operator = Operator()
    async with (
        operator.receiving() as url,
        relaying(tmp_path, configuration({}), url) as collector,
    ):
        endpoint = collector.grpc if protocol == "grpc" else collector.http
        runtimes = [
            asyncio.to_thread(
                report, telemetry(endpoint, tmp_path, token(name)), protocol, float(number)
            )
            for number, name in enumerate(("chat", "code", "chat", "code", "chat", "code"))
        ]
        await asyncio.gather(*runtimes)
    assert operator.values == {"team/chat": [0.0, 2.0, 4.0], "team/code": [1.0, 3.0, 5.0]}


async def test_the_operator_s_refusal_is_heard_and_hurts_nobody_else(tmp_path: Path) -> None:
    operator = Operator()
    async with (
        operator.receiving() as url,
        relaying(tmp_path, configuration({}), url) as collector,
    ):
        refused = [await send(collector, each) for each in (FORGED, None)]
        taken = await send(collector, token("chat"))
    assert (refused, taken) == ([401, 401], 200)
    assert [each.outcome for each in operator.receipts] == [
        Outcome.UNAUTHENTICATED,
        Outcome.UNAUTHENTICATED,
        Outcome.ACCEPTED,
    ]
    assert {each.transport for each in operator.receipts} == {Transport.HTTP}


async def test_a_runtime_is_told_of_a_refusal_over_grpc_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen_to_vllm(monkeypatch, caplog)
    operator = Operator()
    async with (
        operator.receiving() as url,
        relaying(tmp_path, configuration({}), url) as collector,
    ):
        config = telemetry(collector.grpc, tmp_path, FORGED)
        await asyncio.to_thread(report, config, "grpc", 1.0)
    assert operator.points == []
    told = [each.getMessage() for each in caplog.records if "superinfer.telemetry" in each.name]
    (warning,) = set(told)
    assert "UNAUTHENTICATED" in warning


async def test_a_backend_gets_the_same_and_no_token(tmp_path: Path) -> None:
    operator, backend = Operator(), Backend()
    with serving_app(backend.app) as backend_url:
        exporters = {"otlphttp/own": {"endpoint": backend_url, "headers": {"api-key": "own"}}}
        config = configuration({"exporters": exporters})
        async with operator.receiving() as url, relaying(tmp_path, config, url) as collector:
            assert await send(collector, token("chat")) == 200
            # The collector itself checks nobody: the guide says so.
            assert await send(collector, FORGED) == 401
    assert list(operator.values) == ["team/chat"]
    assert len(backend.headers) == 2
    for headers in backend.headers:
        assert headers["api-key"] == "own"
        assert "authorization" not in headers


async def test_the_operator_hears_runtimes_while_the_backend_is_away(tmp_path: Path) -> None:
    operator = Operator()
    config = configuration({"exporters": {"otlphttp/own": {"endpoint": f"http://{ADDRESS}:9"}}})
    async with operator.receiving() as url, relaying(tmp_path, config, url) as collector:
        assert [await send(collector, token("chat")) for _ in range(3)] == [200, 200, 200]
    assert list(operator.values) == ["team/chat"]


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
    operator = Operator()
    async with (
        operator.receiving(TlsFiles(pair.public, pair.key)) as url,
        relaying(tmp_path, config, url) as collector,
    ):
        runtime = telemetry(collector.http, tmp_path, token("chat"), otlp_ca_file=authority.file)
        await asyncio.to_thread(report, runtime, "http/protobuf", 0.5)
    assert operator.values == {"team/chat": [0.5]}
