"""OTLP over gRPC: the same as `receiver`, for collectors and SDKs that speak gRPC.

Like its twin it binds first, checks the bearer token of each call, bounds a message's size (packed
and unpacked), and feeds `ingest`.
"""

import contextlib
from collections.abc import AsyncIterator

import grpc  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from superinfer_contract.tls import TlsFiles

from superinfer_operator.telemetry.ingest import (
    MAX_BODY_BYTES,
    TOO_MUCH,
    UNAUTHENTICATED,
    Intake,
    Transport,
)
from superinfer_operator.telemetry.tls import grpc_credentials

STOP_TIMEOUT_S = 2
MAX_CALLS = 32
"""At once; each may hold a message of `MAX_BODY_BYTES`, and those beyond are told to come again."""


class _Metrics(MetricsServiceServicer):
    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(
        self,
        request: ExportMetricsServiceRequest,
        context: grpc.aio.ServicerContext,
    ) -> ExportMetricsServiceResponse:
        sent = dict(context.invocation_metadata() or ())
        header = sent.get("authorization")
        identity = self._intake.identity(
            header if isinstance(header, str) else None, Transport.GRPC
        )
        if identity is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, UNAUTHENTICATED)
            raise AssertionError("abort raises")
        if wait_s := self._intake.wait_s(identity, request.ByteSize(), Transport.GRPC):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                TOO_MUCH,
                (("grpc-status-details-bin", _come_again(wait_s)),),
            )
        return self._intake.take(request, identity, Transport.GRPC)


def _come_again(wait_s: int) -> bytes:
    """OTLP: without this a sender takes the refusal for final."""
    detail = Any()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=wait_s)))
    code: int = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    status = Status(code=code, message=TOO_MUCH, details=[detail])
    return bytes(status.SerializeToString())


@contextlib.asynccontextmanager
async def serving_grpc(
    intake: Intake, address: str, tls: TlsFiles | None = None
) -> AsyncIterator[int]:
    """Serve on ``address`` (``host:port``, port 0: any) while the context lasts; gives the port.

    Raises:
        ConfigError: the files of ``tls`` cannot be used.
        OSError: the port is taken or not allowed.
    """
    credentials = None if tls is None else grpc_credentials(tls)
    options = [("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CALLS)
    add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _Metrics(intake), server
    )
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(STOP_TIMEOUT_S)
