"""Points: the one form in which telemetry moves inside the operator."""

from dataclasses import dataclass
from enum import Enum, auto


class Shape(Enum):
    """How a point's value is to be read."""

    CUMULATIVE = auto()  # the sum since start_ns
    DELTA = auto()  # the sum between start_ns and time_ns
    GAUGE = auto()  # the value at time_ns


Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent a point: a service and one of its pods (or processes)."""

    service: str
    pod: str


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one series. Times are the sender's, in nanoseconds; a start of 0 is unknown."""

    source: Source
    metric: str
    attributes: Attributes
    shape: Shape
    value: float
    time_ns: int
    start_ns: int
