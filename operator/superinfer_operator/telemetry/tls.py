"""The receivers' certificate, in two files that may be renewed under way.

A mounted TLS Secret changes when its certificate is renewed, so each handshake looks whether the
files changed. While they do not fit together (half-way through a renewal) the last pair that did
stays in use.
"""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from superinfer_contract.validation import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, and its key without a password."""

    certificate: Path
    key: Path


class _Renewed:
    """Tells whether the files are others than they were when last asked."""

    def __init__(self, files: TlsFiles) -> None:
        self._paths = (files.certificate, files.key)
        self._stamp = self._look()

    def __call__(self) -> bool:
        before, self._stamp = self._stamp, self._look()
        return before != self._stamp

    def _look(self) -> tuple[tuple[int, int], ...]:
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((status.st_mtime_ns, status.st_ino) for status in found)


def http_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a server's TLS context that follows ``files``.

    Raises:
        ConfigError: the files cannot be read, or do not fit together.
    """
    renewed = _Renewed(files)
    context = current = _context(files)

    def follow(connection: ssl.SSLSocket | ssl.SSLObject, *_: object) -> None:
        nonlocal current
        if renewed():
            with contextlib.suppress(ConfigError):
                current = _context(files)
        connection.context = current

    # Called in every handshake, with or without a server name.
    context.set_servername_callback(follow)
    return context


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return a gRPC server's credentials that follow ``files``.

    Raises:
        ConfigError: the files cannot be read, or do not fit together.
    """
    renewed = _Renewed(files)

    def follow() -> grpc.ServerCertificateConfiguration | None:
        if renewed():
            with contextlib.suppress(ConfigError):
                return _grpc_configuration(files)
        return None

    return grpc.dynamic_ssl_server_credentials(_grpc_configuration(files), follow)


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A password that is given, even an empty one, keeps OpenSSL from asking at a terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
    except OSError as error:  # an SSLError is one too
        raise ConfigError(
            f"TLS certificate {files.certificate} with key {files.key}: {error.strerror or error}; "
            "give a PEM certificate and the key that belongs to it, without a password"
        ) from error
    return context


def _grpc_configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    _context(files)  # gRPC would not say what is wrong with them
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair])
