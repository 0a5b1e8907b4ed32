"""OTLP over gRPC: the same as `receiver`, for collectors and SDKs that speak gRPC.

Like its twin it binds first, checks the bearer token of each call, bounds a message's size, and
feeds `ingest`.
"""

import contextlib
from collections.abc import AsyncIterator

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)

from superinfer_operator.telemetry.ingest import MAX_BODY_BYTES, Sink, ingest, is_authorized

STOP_TIMEOUT_S = 2


class _Metrics(MetricsServiceServicer):
    def __init__(self, sink: Sink, token: str) -> None:
        self._sink = sink
        self._token = token

    async def Export(
        self,
        request: ExportMetricsServiceRequest,
        context: grpc.aio.ServicerContext,
    ) -> ExportMetricsServiceResponse:
        sent = dict(context.invocation_metadata() or ())
        header = sent.get("authorization")
        if not is_authorized(header if isinstance(header, str) else None, self._token):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a valid bearer token is required")
        return ingest(request, self._sink)


@contextlib.asynccontextmanager
async def serving_grpc(sink: Sink, token: str, address: str) -> AsyncIterator[int]:
    """Serve on ``address`` (``host:port``, port 0: any) while the context lasts; gives the port.

    Raises:
        OSError: the port is taken or not allowed.
    """
    options = [("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    add_MetricsServiceServicer_to_server(  # type: ignore[no-untyped-call]
        _Metrics(sink, token), server
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(STOP_TIMEOUT_S)
