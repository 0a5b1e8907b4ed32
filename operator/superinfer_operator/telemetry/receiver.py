"""OTLP over HTTP: ``POST /v1/metrics`` with protobuf, plain or gzip, and a bearer token.

What it accepts is decided in `ingest`; here that becomes statuses: 401 without a token, before the
body is read; 413 for what is too large, 400 for what is no OTLP, 408 for a body that does not come,
415 for OTLP in JSON, 429 for a sender that brings too much, 503 while all together do. As OTLP
demands, errors too are protobuf: a `google.rpc.Status`.
"""

import asyncio
import contextlib
import socket

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_contract.tls import TlsFiles

from superinfer_operator.telemetry.http_server import serving_app
from superinfer_operator.telemetry.ingest import (
    MAX_BODY_BYTES,
    TOO_MUCH,
    UNAUTHENTICATED,
    BadRequest,
    Intake,
    TooLarge,
    Transport,
    parse,
    unpack,
)

PATH = "/v1/metrics"
PROTOBUF = "application/x-protobuf"
BODY_TIMEOUT_S = 10.0
MAX_HELD_BYTES = 64 * 2**20
"""Of all bodies that are on their way in."""


class _Busy(Exception):
    """Too much is on its way in at once."""


def app(intake: Intake) -> Starlette:
    """Return the ASGI app that hands received points to ``intake``."""

    incoming = _Incoming()

    async def export(request: Request) -> Response:
        identity = intake.identity(request.headers.get("authorization"), Transport.HTTP)
        if identity is None:
            return _answer(401, Status(message=UNAUTHENTICATED))
        if _content_type(request) != PROTOBUF:
            return refuse(415, f"send {PROTOBUF}")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                packed = await incoming.read(request)
            body = unpack(packed, request.headers.get("content-encoding"))
            if wait_s := intake.wait_s(identity, len(body), Transport.HTTP):
                return _later(429, TOO_MUCH, wait_s)
            otlp = parse(body)
        except TooLarge:
            return refuse(413, f"a request must not exceed {MAX_BODY_BYTES} bytes")
        except BadRequest as error:
            return refuse(400, str(error))
        except _Busy:
            intake.throttled(Transport.HTTP)
            return _later(503, "too many reports arrive at once", 1)
        except TimeoutError:
            return refuse(408, f"the body did not come within {BODY_TIMEOUT_S:g} s")
        return _answer(200, intake.take(otlp, identity, Transport.HTTP))

    def refuse(status: int, message: str) -> Response:
        intake.refused(Transport.HTTP)
        return _answer(status, Status(message=message))

    return Starlette(routes=[Route(PATH, export, methods=["POST"])])


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _Incoming:
    """All bodies that are being read, bounded each and together."""

    def __init__(self) -> None:
        self._held_bytes = 0

    async def read(self, request: Request) -> bytes:
        chunks = bytearray()
        try:
            async for chunk in request.stream():
                chunks += chunk
                self._held_bytes += len(chunk)
                if len(chunks) > MAX_BODY_BYTES:
                    raise TooLarge
                if self._held_bytes > MAX_HELD_BYTES:
                    raise _Busy
            return bytes(chunks)
        finally:
            self._held_bytes -= len(chunks)


def _later(status: int, message: str, wait_s: int) -> Response:
    answer = _answer(status, Status(message=message))
    answer.headers["retry-after"] = str(wait_s)
    return answer


def _answer(status: int, message: Message) -> Response:
    return Response(message.SerializeToString(), status_code=status, media_type=PROTOBUF)


def serving(
    intake: Intake, listener: socket.socket, tls: TlsFiles | None = None
) -> contextlib.AbstractAsyncContextManager[str]:
    """Receive on ``listener`` while the context lasts; gives the endpoint's base URL.

    Raises:
        ConfigError: the files of ``tls`` cannot be used.
    """
    return serving_app(app(intake), listener, tls)
