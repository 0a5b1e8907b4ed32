"""A runtime's telemetry over TLS: its own exporter and the operator's receivers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import Authority
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.tls import TlsFiles
from superinfer_contract.validation import ConfigError
from superinfer_operator.telemetry.authentication import one_token
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import Intake, Outcome, Transport
from superinfer_operator.telemetry.receiver import serving
from telemetry_ends import Received, listen_to_vllm, report

ADDRESS = "127.0.0.1"
PROTOCOLS = {Transport.HTTP: "http/protobuf", Transport.GRPC: "grpc"}


@asynccontextmanager
async def receiving(
    transport: Transport, files: TlsFiles, received: Received
) -> AsyncIterator[str]:
    intake = Intake(one_token("token", "chat"), received.take, received.receipts.append)
    if transport is Transport.HTTP:
        async with serving(intake, bind(ADDRESS, 0), files) as url:
            yield url
    else:
        async with serving_grpc(intake, f"{ADDRESS}:0", files) as port:
            yield f"https://{ADDRESS}:{port}"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "otlp-token"
    path.write_text("token\n")
    return path


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def files_of(authority: Authority) -> TlsFiles:
    pair = authority.server("tls", ["operator"], [ADDRESS])
    return TlsFiles(pair.public, pair.key)


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    listen_to_vllm(monkeypatch, caplog)


@pytest.mark.parametrize("transport", Transport)
async def test_a_runtime_reports_to_a_receiver_that_it_trusts(
    transport: Transport, ours: Authority, token_file: Path
) -> None:
    received = Received()
    async with receiving(transport, files_of(ours), received) as endpoint:
        config = TelemetryConfig(
            otlp_endpoint=endpoint, otlp_token_file=token_file, otlp_ca_file=ours.file
        )
        await asyncio.to_thread(report, config, PROTOCOLS[transport], 0.5)
    assert [point.value for point in received.points] == [0.5]


@pytest.mark.parametrize("transport", Transport)
async def test_it_sends_nothing_to_another_and_says_so_once(
    transport: Transport,
    ours: Authority,
    foreign: Authority,
    token_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    received = Received()
    async with receiving(transport, files_of(foreign), received) as endpoint:
        config = TelemetryConfig(
            otlp_endpoint=endpoint, otlp_token_file=token_file, otlp_ca_file=ours.file
        )
        await asyncio.to_thread(report, config, PROTOCOLS[transport], 0.5)
    assert received.points == []
    assert received.receipts == []
    said = [record.getMessage() for record in caplog.records if "superinfer" in record.name]
    (warning,) = said
    assert "telemetry cannot be delivered" in warning
    if transport is Transport.HTTP:
        assert "certificate verify failed" in warning


async def test_without_a_token_nothing_is_taken(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    received = Received()
    async with receiving(Transport.HTTP, files_of(ours), received) as endpoint:
        config = TelemetryConfig(otlp_endpoint=endpoint, otlp_ca_file=ours.file)
        await asyncio.to_thread(report, config, PROTOCOLS[Transport.HTTP], 0.5)
    assert received.points == []
    assert {receipt.outcome for receipt in received.receipts} == {Outcome.UNAUTHENTICATED}
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "401" in warning


@pytest.mark.parametrize("transport", Transport)
def test_a_ca_file_that_is_not_there_is_told_at_the_start(
    transport: Transport, tmp_path: Path
) -> None:
    config = TelemetryConfig(otlp_endpoint="https://x", otlp_ca_file=tmp_path / "ca.crt")
    with pytest.raises(ConfigError, match=r"telemetry\.otlp_ca_file: .*No such file"):
        report(config, PROTOCOLS[transport], 0.5)
