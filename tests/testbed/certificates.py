"""A throw-away certificate authority, for one control plane or one test."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_FOR = timedelta(days=2)
CLOCK_SKEW = timedelta(hours=1)
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """PEM files: a certificate or bare public key, and the private key."""

    public: Path
    key: Path


class Authority:
    """Signs for servers and clients; everything is written to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name("testbed")
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = (
            self._builder([self._name], self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(SIGNS_CERTIFICATES, critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(
        self,
        name: str,
        names: Iterable[str],
        addresses: Iterable[str],
        valid_for: timedelta = VALID_FOR,
    ) -> KeyPair:
        """Return a certificate for a server under ``names`` and IP ``addresses``."""
        reached: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
        reached += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        extensions: list[x509.ExtensionType] = [use, x509.SubjectAlternativeName(reached)]
        return self._issue(name, [_common_name(name)], extensions, valid_for)

    def client(self, name: str, user: str, groups: Iterable[str]) -> KeyPair:
        """Return a certificate that Kubernetes takes as ``user`` in ``groups``."""
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups]
        use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return self._issue(name, [*subject, _common_name(user)], [use])

    def signing_key(self, name: str) -> KeyPair:
        """Return a bare RSA key pair, as ServiceAccount tokens are signed with."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self._write(name, public, key)

    def _issue(
        self,
        name: str,
        subject: list[x509.NameAttribute[str]],
        extensions: list[x509.ExtensionType],
        valid_for: timedelta = VALID_FOR,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(subject, key.public_key(), valid_for)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return self._write(name, certificate.public_bytes(serialization.Encoding.PEM), key)

    def _builder(
        self,
        subject: list[x509.NameAttribute[str]],
        key: ec.EllipticCurvePublicKey,
        valid_for: timedelta = VALID_FOR,
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(x509.Name([self._name]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + valid_for)
            .add_extension(issuer, critical=False)
        )

    def _write(
        self, name: str, public: bytes, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ) -> KeyPair:
        pair = KeyPair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.public.write_bytes(public)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


def _common_name(text: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.COMMON_NAME, text)
