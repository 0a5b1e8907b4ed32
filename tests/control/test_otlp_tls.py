"""The receivers behind TLS, with certificates made here, renewed under way, and broken ones."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from superinfer_contract.metrics import STEP_TIME
from superinfer_contract.tls import TlsFiles
from superinfer_contract.validation import ConfigError
from superinfer_operator.telemetry.authentication import one_token
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import Intake, Transport
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.receiver import PATH, serving
from superinfer_operator.telemetry.rejection import Rejected

TOKEN = "token"


def issue(files: TlsFiles, number: int, password: bytes | None = None) -> None:
    """Write a self-signed certificate of serial ``number`` and its key, as a renewal would."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "operator")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    replace(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    encryption = (
        serialization.NoEncryption()
        if password is None
        else serialization.BestAvailableEncryption(password)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    replace(files.key, private)


def replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    files = TlsFiles(tmp_path / "tls.crt", tmp_path / "tls.key")
    issue(files, number=1)
    return files


@asynccontextmanager
async def served(transport: Transport, files: TlsFiles, points: list[Point]) -> AsyncIterator[int]:
    def sink(received: list[Point]) -> Rejected:
        points.extend(received)
        return Rejected()

    intake = Intake(one_token(TOKEN, "chat"), sink)
    if transport is Transport.HTTP:
        async with serving(intake, bind("127.0.0.1", 0), files) as url:
            assert url.startswith("https://")
            yield int(url.rpartition(":")[2])
    else:
        async with serving_grpc(intake, "127.0.0.1:0", files) as port:
            yield port


def exporter(transport: Transport, port: int, files: TlsFiles) -> MetricExporter:
    headers = {"authorization": f"Bearer {TOKEN}"}
    if transport is Transport.HTTP:
        url = f"https://127.0.0.1:{port}{PATH}"
        return HttpExporter(url, headers=headers, certificate_file=str(files.certificate))
    credentials = grpc.ssl_channel_credentials(files.certificate.read_bytes())
    return GrpcExporter(
        f"https://127.0.0.1:{port}", credentials=credentials, headers=headers, timeout=3
    )


def report(push: MetricExporter) -> None:
    reader = PeriodicExportingMetricReader(push, export_interval_millis=3_600_000)
    resource = Resource({"service.instance.id": "chat-0"})
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    provider.get_meter("test").create_gauge(STEP_TIME.name).set(0.5)
    provider.shutdown(5_000)


async def serial(port: int) -> int:
    """The serial number of the certificate that the server shows."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    trusting.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize("transport", Transport)
async def test_the_sdk_over_tls(
    transport: Transport, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)  # they win over the exporter's own certificate
    points: list[Point] = []
    async with served(transport, files, points) as port:
        await asyncio.to_thread(report, exporter(transport, port, files))
    assert [point.value for point in points] == [0.5]


@pytest.mark.parametrize("transport", Transport)
async def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    transport: Transport, files: TlsFiles
) -> None:
    async with served(transport, files, []) as port:
        assert await serial(port) == 1
        issue(files, number=2)
        assert await serial(port) == 2
        files.key.write_text("half a key")
        assert await serial(port) == 2
        files.certificate.unlink()
        assert await serial(port) == 2
        issue(files, number=3)
        assert await serial(port) == 3


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("fault", ["missing", "garbage", "mismatch", "password"])
async def test_unusable_files_are_refused_before_anything_is_served(
    transport: Transport, files: TlsFiles, fault: str
) -> None:
    kept = files.certificate.read_bytes()
    if fault == "missing":
        files.key.unlink()
    elif fault == "garbage":
        files.certificate.write_text("no certificate")
    elif fault == "mismatch":
        issue(files, number=2)
        files.certificate.write_bytes(kept)
    else:
        issue(files, number=2, password=b"secret")
    with pytest.raises(ConfigError, match=r"give a PEM certificate"):
        async with served(transport, files, []):
            pass
