"""The gRPC receiver's side of the contract's `tls`: credentials that follow renewed files."""

import contextlib

import grpc  # type: ignore[import-untyped]
from superinfer_contract.tls import TlsFiles, load
from superinfer_contract.validation import ConfigError


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return a gRPC server's credentials that follow ``files``.

    Raises:
        ConfigError: the files cannot be read, or do not fit together.
    """
    renewed = files.changes

    def follow() -> grpc.ServerCertificateConfiguration | None:
        if renewed():
            with contextlib.suppress(ConfigError):
                return _configuration(files)
        return None

    return grpc.dynamic_ssl_server_credentials(_configuration(files), follow)


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    load(files)  # gRPC would not say what is wrong with them
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair])
