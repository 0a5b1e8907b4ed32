"""What becomes of an OTLP request, whichever way it came.

Both receivers (HTTP and gRPC) end here, so they cannot differ in what they accept.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from superinfer_operator.telemetry.authentication import Authenticate
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.reading import read_points
from superinfer_operator.telemetry.rejection import Rejected, in_words
from superinfer_operator.telemetry.throttle import Throttle

MAX_BODY_BYTES = 4 * 2**20
UNAUTHENTICATED = "a valid bearer token is required"
TOO_MUCH = "this service sends more telemetry than is read; send less, or less often"

Sink = Callable[[list[Point]], Rejected]
"""Takes the points of one request; returns those that it did not want."""


class BadRequest(Exception):
    """The body is no OTLP request."""


class TooLarge(Exception):
    """The body, packed or unpacked, exceeds `MAX_BODY_BYTES`."""


class Transport(StrEnum):
    """The way a request came."""

    HTTP = "http"
    GRPC = "grpc"


class Outcome(StrEnum):
    """What became of a request."""

    ACCEPTED = "accepted"  # perhaps without some of its points
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"  # too large, or no OTLP
    THROTTLED = "throttled"  # its sender brings too much, or all of them do


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the operator's own telemetry is told of a request."""

    transport: Transport
    outcome: Outcome
    accepted_points: int = 0
    rejected_points: int = 0


def _untold(_: Receipt) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Intake:
    """What both receivers share: who may send, where points go, and who is told."""

    authenticate: Authenticate
    sink: Sink
    tell: Callable[[Receipt], None] = _untold
    throttle: Throttle = field(default_factory=Throttle)

    def identity(self, authorization: str | None, transport: Transport) -> str | None:
        """Whose telemetry comes with this ``Authorization`` header; None: refuse the request."""
        identity = self.authenticate(authorization)
        if identity is None:
            self.tell(Receipt(transport, Outcome.UNAUTHENTICATED))
        return identity

    def wait_s(self, identity: str, num_bytes: int, transport: Transport) -> int:
        """In how many seconds a request of ``num_bytes`` may come again; 0: it is taken now."""
        wait_s = self.throttle.wait_s(identity, num_bytes)
        if wait_s:
            self.throttled(transport)
        return wait_s

    def throttled(self, transport: Transport) -> None:
        """Note a request that must come again."""
        self.tell(Receipt(transport, Outcome.THROTTLED))

    def take(
        self, request: ExportMetricsServiceRequest, identity: str, transport: Transport
    ) -> ExportMetricsServiceResponse:
        """Hand the request's points on and return the answer to its sender."""
        reading = read_points(request, identity)
        rejected = reading.rejected + self.sink(reading.points)
        offered = len(reading.points) + reading.rejected.total()
        self.tell(
            Receipt(transport, Outcome.ACCEPTED, offered - rejected.total(), rejected.total())
        )
        return _answer(rejected)

    def refused(self, transport: Transport) -> None:
        """Note a request that could not be read."""
        self.tell(Receipt(transport, Outcome.REFUSED))


def _answer(rejected: Rejected) -> ExportMetricsServiceResponse:
    if not rejected:
        return ExportMetricsServiceResponse()  # OTLP: no partial_success when all was taken
    return ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(
            rejected_data_points=rejected.total(), error_message=in_words(rejected)
        )
    )


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
