"""Copies in both directions of one link on virtual time, as a fluid.

Each direction handles its transfers in order: a fixed time to start one, then its bytes at the
direction's rate. While both directions move bytes they share the duplex rate evenly; what one
cannot use falls to the other. Rates change only at events (a transfer is handed over, starts to
move, or ends), and the state is only brought forward to events: so asking more often changes
nothing, to the last bit.
"""

from collections import deque
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Transfer:
    """What to move in one direction, and the rates that its segments allow."""

    job_id: int
    out: bool
    num_bytes: int
    setup_s: float
    alone_bytes_per_s: float
    duplex_bytes_per_s: float
    """Of both directions together, if the other moved segments like these."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A transfer and when the link took it up and was done with it."""

    transfer: Transfer
    start_s: float
    end_s: float


class DuplexLink:
    """See the module's text. Times are absolute; none may lie before one given earlier."""

    def __init__(self) -> None:
        self._lanes = {True: _Lane(), False: _Lane()}
        self._at_s = 0.0
        self._next_event_s = inf

    @property
    def next_event_s(self) -> float:
        """When something changes next if nothing is handed over; infinity on an idle link."""
        return self._next_event_s

    def is_busy(self, out: bool) -> bool:
        return bool(self._lanes[out].queue)

    def busy_since_s(self, out: bool) -> float:
        """When the transfer now under way in this direction was taken up."""
        return self._lanes[out].start_s

    def submit(self, transfer: Transfer, now_s: float) -> None:
        """Hand a transfer over. All that ended until now must have been taken with `advance`."""
        lane = self._lanes[transfer.out]
        lane.queue.append(transfer)
        if len(lane.queue) == 1:
            self._bring_forward(now_s)
            lane.take_up(now_s)
            self._plan()

    def advance(self, to_s: float) -> list[Ended]:
        """Return what ended until ``to_s``, in order of its end."""
        ended: list[Ended] = []
        while self._next_event_s <= to_s and self._next_event_s < inf:
            self._bring_forward(self._next_event_s)
            for lane in self._lanes.values():
                if lane.queue and lane.next_event_s <= self._at_s:
                    done = lane.pass_event(self._at_s)
                    if done is not None:
                        ended.append(done)
            self._plan()
        return ended

    def _bring_forward(self, to_s: float) -> None:
        """Move bytes at the planned rates, up to an event."""
        passed_s = to_s - self._at_s
        for lane in self._lanes.values():
            if lane.moving:
                lane.bytes_left = max(lane.bytes_left - lane.bytes_per_s * passed_s, 0.0)
        self._at_s = to_s

    def _plan(self) -> None:
        """Set the rates until the next event, and when that is."""
        out, into = self._lanes[True], self._lanes[False]
        if out.moving and into.moving:
            a, b = out.queue[0], into.queue[0]
            # Half of what moves is like each, so the times a byte takes are averaged.
            total = 2.0 / (1.0 / a.duplex_bytes_per_s + 1.0 / b.duplex_bytes_per_s)
            half = total / 2.0
            out.bytes_per_s = min(a.alone_bytes_per_s, max(half, total - b.alone_bytes_per_s))
            into.bytes_per_s = min(b.alone_bytes_per_s, total - out.bytes_per_s)
        else:
            for lane in (out, into):
                if lane.moving:
                    lane.bytes_per_s = lane.queue[0].alone_bytes_per_s
        for lane in (out, into):
            if lane.moving:
                lane.next_event_s = self._at_s + lane.bytes_left / lane.bytes_per_s
        self._next_event_s = min(out.next_event_s, into.next_event_s)


class _Lane:
    """One direction: a queue whose first transfer is under way."""

    def __init__(self) -> None:
        self.queue: deque[Transfer] = deque()
        self.start_s = 0.0
        self.moving = False
        """Whether bytes move; else the first transfer is being started, or there is none."""
        self.bytes_left = 0.0
        self.bytes_per_s = 0.0
        self.next_event_s = inf

    def take_up(self, now_s: float) -> None:
        self.start_s = now_s
        self.moving = False
        self.next_event_s = now_s + self.queue[0].setup_s if self.queue else inf

    def pass_event(self, now_s: float) -> Ended | None:
        """Go from starting to moving, or end the transfer and take up the next."""
        transfer = self.queue[0]
        if not self.moving and transfer.num_bytes:
            self.moving = True
            self.bytes_left = float(transfer.num_bytes)
            return None
        self.queue.popleft()
        done = Ended(transfer, self.start_s, now_s)
        self.take_up(now_s)
        return done
