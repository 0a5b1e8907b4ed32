"""One series over a sliding window: how much a counter rose, what a gauge last said.

Two clocks are kept apart. The *sender's* (nanoseconds in the point) orders the points of a series:
a point no newer than the last one is a duplicate or late. The *receiver's* (``now_s``, an argument)
places a rise in the window and tells what is stale, so that a sender's wrong clock cannot hide a
silence. A sender's clock may also be set back; then all its points look late, and `SetBack` tells
that from lateness.
"""

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field

from superinfer_operator.telemetry.points import Point

STEPS_OF_A_WINDOW = 64
MAX_DELTAS_REMEMBERED = 64
_NS = 1e9


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a look reaches back."""

    window_s: float  # rises of counters
    stale_s: float  # gauges, and how long a pod may look late before its clock is doubted


@dataclass(slots=True)
class SetBack:
    """Notices that a clock was set back: old points, and only those, keep coming and advance.

    Repeating one old request for ever is not enough, nor are late points between newer ones.
    """

    since_s: float | None = None
    oldest_ns: int = 0

    def saw_news(self) -> None:
        self.since_s = None

    def saw_old(self, time_ns: int, now_s: float, stale_s: float) -> bool:
        """Take in an old point and say whether it now counts as news."""
        if self.since_s is None:
            self.since_s, self.oldest_ns = now_s, time_ns
        self.oldest_ns = min(self.oldest_ns, time_ns)
        return time_ns > self.oldest_ns and now_s - self.since_s > stale_s


@dataclass(slots=True)
class Rises:
    """The sum of rises in a sliding window, kept in a bounded number of steps."""

    steps: "array[float]" = field(default_factory=lambda: array("d"))
    """Time and rise of each step, in turn: numbers as objects would take seven times the memory."""

    def add(self, rise: float, now_s: float, window_s: float) -> None:
        self._prune(now_s, window_s)
        if rise <= 0:
            return
        if self.steps and now_s - self.steps[-2] < window_s / STEPS_OF_A_WINDOW:
            self.steps[-1] += rise
        else:
            self.steps.extend((now_s, rise))

    def total(self, now_s: float, window_s: float) -> float:
        self._prune(now_s, window_s)
        return sum(self.steps[1::2])

    def _prune(self, now_s: float, window_s: float) -> None:
        past = 0
        while past < len(self.steps) and self.steps[past] <= now_s - window_s:
            past += 2
        if past:
            del self.steps[:past]


@dataclass(slots=True)
class CumulativeSeries:
    """A counter whose points carry the sum since its process started."""

    rises: Rises = field(default_factory=Rises)
    last: Point | None = None
    set_back: SetBack = field(default_factory=SetBack)

    def add(self, point: Point, now_s: float, horizon: Horizon) -> bool:
        """Take ``point`` and say whether it was news."""
        rise = self._rise(point, now_s, horizon)
        if rise is None:
            return False
        self.last = point
        self.set_back.saw_news()
        self.rises.add(rise, now_s, horizon.window_s)
        return True

    def _rise(self, point: Point, now_s: float, horizon: Horizon) -> float | None:
        """How much ``point`` adds; None if it is late or repeats the last one."""
        last = self.last
        if last is None:
            return _found(point, horizon.window_s)
        if 0 < last.start_ns < point.start_ns:
            return point.value  # restarted, and counts from nought again
        is_same_process = last.start_ns in (0, point.start_ns)
        if is_same_process and point.time_ns > last.time_ns:
            fell = point.value < last.value  # restarted without saying so
            return point.value if fell else point.value - last.value
        is_repeated = is_same_process and point.time_ns == last.time_ns
        if is_repeated or not self.set_back.saw_old(point.time_ns, now_s, horizon.stale_s):
            return None
        if is_same_process:
            return max(0.0, point.value - last.value)
        return _found(point, horizon.window_s)


def _found(point: Point, window_s: float) -> float:
    """What a counter adds that is seen for the first time: all, if all lies in the window."""
    age_s = (point.time_ns - point.start_ns) / _NS
    return point.value if point.start_ns and 0 <= age_s <= window_s else 0.0


@dataclass(slots=True)
class DeltaSeries:
    """A counter whose points carry what was added since the point before.

    A late point is counted too, unless it was counted already: for that the times of the last
    points are remembered, and what is older than all of them is not counted any more.
    """

    rises: Rises = field(default_factory=Rises)
    floor_ns: int = 0  # up to here nothing is counted any more
    counted_ns: "array[int]" = field(default_factory=lambda: array("Q"))
    set_back: SetBack = field(default_factory=SetBack)

    def add(self, point: Point, now_s: float, horizon: Horizon) -> bool:
        """Take ``point`` and say whether it was news."""
        place = bisect_left(self.counted_ns, point.time_ns)
        if place < len(self.counted_ns) and self.counted_ns[place] == point.time_ns:
            return False
        if point.time_ns <= self.floor_ns:
            if not self.set_back.saw_old(point.time_ns, now_s, horizon.stale_s):
                return False
            del self.counted_ns[:]
            place = 0
        self.counted_ns.insert(place, point.time_ns)
        if len(self.counted_ns) > MAX_DELTAS_REMEMBERED or point.time_ns <= self.floor_ns:
            self.floor_ns = self.counted_ns.pop(0)
        self.set_back.saw_news()
        self.rises.add(point.value, now_s, horizon.window_s)
        return True


@dataclass(slots=True)
class GaugeSeries:
    """The last value of one gauge, until it is stale."""

    last: Point | None = None
    received_s: float = 0.0
    set_back: SetBack = field(default_factory=SetBack)

    def add(self, point: Point, now_s: float, horizon: Horizon) -> bool:
        """Take ``point`` and say whether it was news."""
        if self.last is not None and point.time_ns <= self.last.time_ns:
            is_repeated = point.time_ns == self.last.time_ns
            if is_repeated or not self.set_back.saw_old(point.time_ns, now_s, horizon.stale_s):
                return False
        self.last, self.received_s = point, now_s
        self.set_back.saw_news()
        return True

    def value(self, now_s: float, stale_s: float) -> float | None:
        """The last value, or None when it is older than ``stale_s``."""
        if self.last is None or now_s - self.received_s > stale_s:
            return None
        return self.last.value
