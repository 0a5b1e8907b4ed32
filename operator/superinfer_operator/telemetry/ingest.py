"""From the bytes of an OTLP request to points, and the answer that goes back.

Both receivers (HTTP and gRPC) end here, so they cannot differ in what they accept.
"""

import hmac
import zlib
from collections.abc import Callable

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from superinfer_operator.telemetry.points import Point, read_points

MAX_BODY_BYTES = 4 * 2**20

Sink = Callable[[list[Point]], None]
"""Takes the points of one request."""


class BadRequest(Exception):
    """The body is no OTLP request."""


class TooLarge(Exception):
    """The body, packed or unpacked, exceeds `MAX_BODY_BYTES`."""


def is_authorized(header: str | None, token: str) -> bool:
    """Whether ``header`` is ``Bearer <token>``; compared in constant time."""
    return hmac.compare_digest((header or "").encode(), f"Bearer {token}".encode())


def unpack(body: bytes, encoding: str | None) -> bytes:
    """Undo the content encoding, never writing more than `MAX_BODY_BYTES`.

    Raises:
        BadRequest: an unknown encoding, or a broken gzip stream.
        TooLarge: the body is larger than allowed.
    """
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge
    if encoding in (None, "", "identity"):
        return body
    if encoding != "gzip":
        raise BadRequest(f"content-encoding {encoding!r} is not supported; use gzip")
    stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = stream.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequest("the body is not valid gzip") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise TooLarge
    if not stream.eof:
        raise BadRequest("the gzip stream ends early")
    return unpacked


def parse(body: bytes) -> ExportMetricsServiceRequest:
    """Read a protobuf request.

    Raises:
        BadRequest: the bytes are something else.
    """
    try:
        return ExportMetricsServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadRequest("the body is not an OTLP ExportMetricsServiceRequest") from error


def ingest(request: ExportMetricsServiceRequest, sink: Sink) -> ExportMetricsServiceResponse:
    """Hand the request's points to ``sink`` and return the answer to its sender."""
    sink(read_points(request))
    return ExportMetricsServiceResponse()
