"""Certificates for tests: an authority, and servers' certificates that it signs."""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from superinfer_contract.tls import TlsFiles

HOUR = timedelta(hours=1)


class Authority:
    """A certificate authority with its certificate in ``folder``/ca.crt."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self._certificate = (
            self._signed(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / "ca.crt"
        replace(self.ca_file, self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *hosts: str, expired: bool = False) -> TlsFiles:
        """Write a certificate for ``hosts`` (names or addresses), as a renewal would."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        certificate = (
            self._signed(subject, key, ended=expired)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
            )
            .sign(self._key, hashes.SHA256())
        )
        files = TlsFiles(self._folder / "tls.crt", self._folder / "tls.key")
        replace(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        replace(files.key, private)
        return files

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ended: bool = False
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        end = now - HOUR if ended else now + HOUR
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * HOUR)
            .not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )


def replace(path: Path, content: bytes) -> None:
    """Write as the kubelet does: whoever reads sees the old content or the new."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
