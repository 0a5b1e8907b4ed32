"""One series over a sliding window: how much a counter rose, what a gauge last said.

Two clocks are kept apart. The *sender's* (nanoseconds in the point) orders the points of a series:
a point no newer than the last one is a duplicate or late and changes nothing. The *receiver's*
(``now_s``, an argument) places a rise in the window and tells what is stale, so that a sender's
wrong clock cannot hide a silence.
"""

from collections import deque
from dataclasses import dataclass, field

from superinfer_operator.telemetry.points import Point, Shape

_NS = 1e9


@dataclass(slots=True)
class CounterSeries:
    """Rises of one counter, cumulative or delta, with restarts of its process seen through."""

    window_s: float
    last: Point | None = None
    rises: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, point: Point, now_s: float) -> bool:
        """Take ``point`` and say whether it was news."""
        if self._is_old(point):
            return False
        rise = self._rise(point)
        self.last = point
        if rise > 0:
            self.rises.append((now_s, rise))
        self._prune(now_s)
        return True

    def total(self, now_s: float) -> float:
        """How much the counter rose in the window that ends at ``now_s``."""
        self._prune(now_s)
        return sum(rise for _, rise in self.rises)

    def _is_old(self, point: Point) -> bool:
        last = self.last
        return last is not None and (
            point.time_ns <= last.time_ns
            # A straggler of the process before the restart.
            or (point.shape is Shape.CUMULATIVE and point.start_ns < last.start_ns)
        )

    def _rise(self, point: Point) -> float:
        if point.shape is Shape.DELTA:
            return point.value
        last = self.last
        if last is None:
            # Seen for the first time: its sum counts only if all of it can lie in the window.
            age_s = (point.time_ns - point.start_ns) / _NS
            return point.value if point.start_ns and age_s <= self.window_s else 0.0
        if point.start_ns > last.start_ns or point.value < last.value:
            return point.value  # restarted: counts from nought again
        return point.value - last.value

    def _prune(self, now_s: float) -> None:
        while self.rises and self.rises[0][0] <= now_s - self.window_s:
            self.rises.popleft()


@dataclass(slots=True)
class GaugeSeries:
    """The last value of one gauge, until it is stale."""

    stale_s: float
    last: Point | None = None
    received_s: float = 0.0

    def add(self, point: Point, now_s: float) -> bool:
        """Take ``point`` and say whether it was news."""
        if self.last is not None and point.time_ns <= self.last.time_ns:
            return False
        self.last, self.received_s = point, now_s
        return True

    def value(self, now_s: float) -> float | None:
        """The last value, or None when it is older than ``stale_s``."""
        if self.last is None or now_s - self.received_s > self.stale_s:
            return None
        return self.last.value
