"""OTLP over HTTP: ``POST /v1/metrics`` with protobuf, plain or gzip, and a bearer token.

What it accepts is decided in `ingest`; here that becomes statuses: 401 without the token, 413 for
what is too large, 400 for what is no OTLP, 415 for OTLP in JSON.
"""

import contextlib
import socket

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from superinfer_operator.telemetry.http_server import serving_app
from superinfer_operator.telemetry.ingest import (
    MAX_BODY_BYTES,
    BadRequest,
    Sink,
    TooLarge,
    ingest,
    is_authorized,
    parse,
    unpack,
)

PATH = "/v1/metrics"
PROTOBUF = "application/x-protobuf"


def app(sink: Sink, token: str) -> Starlette:
    """Return the ASGI app that hands received points to ``sink``."""

    async def export(request: Request) -> Response:
        if not is_authorized(request.headers.get("authorization"), token):
            return _error(401, "a valid bearer token is required")
        if request.headers.get("content-type", "").partition(";")[0].strip() != PROTOBUF:
            return _error(415, f"send {PROTOBUF}")
        try:
            body = unpack(await _body(request), request.headers.get("content-encoding"))
            answer = ingest(parse(body), sink)
        except TooLarge:
            return _error(413, f"a request must not exceed {MAX_BODY_BYTES} bytes")
        except BadRequest as error:
            return _error(400, str(error))
        return Response(answer.SerializeToString(), media_type=PROTOBUF)

    return Starlette(routes=[Route(PATH, export, methods=["POST"])])


async def _body(request: Request) -> bytes:
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > MAX_BODY_BYTES:
            raise TooLarge
    return bytes(chunks)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status_code=status)


def serving(
    sink: Sink, token: str, listener: socket.socket
) -> contextlib.AbstractAsyncContextManager[str]:
    """Receive on ``listener`` while the context lasts; gives the endpoint's base URL."""
    return serving_app(app(sink, token), listener)
