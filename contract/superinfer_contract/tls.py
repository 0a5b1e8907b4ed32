"""A server's certificate, in two files that may be renewed under way.

A mounted TLS Secret changes when its certificate is renewed, so each handshake looks whether the
files changed. While they do not fit together (half-way through a renewal) the last pair that did
stays in use.
"""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path

from superinfer_contract.file_changes import FileChanges
from superinfer_contract.validation import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, and its key without a password."""

    certificate: Path
    key: Path

    @property
    def changes(self) -> FileChanges:
        """Tells from now on whether one of them changed."""
        return FileChanges(self.certificate, self.key)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a server's TLS context that follows ``files``.

    Raises:
        ConfigError: the files cannot be read, or do not fit together.
    """
    renewed = files.changes
    context = current = load(files)

    def follow(connection: ssl.SSLSocket | ssl.SSLObject, *_: object) -> None:
        nonlocal current
        if renewed():
            with contextlib.suppress(ConfigError):
                current = load(files)
        connection.context = current

    # Called in every handshake, with or without a server name.
    context.set_servername_callback(follow)
    return context


def load(files: TlsFiles) -> ssl.SSLContext:
    """Return a server's TLS context of ``files`` as they are.

    Raises:
        ConfigError: the files cannot be read, or do not fit together.
    """
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
