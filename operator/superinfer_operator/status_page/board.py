"""All that the page shows: the latest look at each service, and its history.

Whoever looks after services tells it; it keeps no more than `history` allows and asks nobody.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from superinfer_contract.metrics import Objective
from superinfer_contract.service import ServiceSpec

from superinfer_operator.observe import shares
from superinfer_operator.status_page.history import History
from superinfer_operator.transitions import Condition
from superinfer_operator.turn import Turn


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a service. Without ``spec`` its object could not be read."""

    conditions: Sequence[Condition]
    spec: ServiceSpec | None = None
    turn: Turn | None = None
    url: str = ""
    replicas: int = 0
    ready_replicas: int = 0


@dataclass(slots=True)
class Entry:
    """A service on the board."""

    look: Look
    seen_s: float
    history: History = field(default_factory=History)


class Board:
    """Entries by the service's name, with its namespace where there is one."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.clock = clock
        self.now = now
        self.entries: dict[str, Entry] = {}

    def looked(self, service: str, look: Look) -> None:
        """Show ``look`` from now on, and remember what it did."""
        now_s = self.clock()
        entry = self.entries.setdefault(service, Entry(look, now_s))
        entry.look, entry.seen_s = look, now_s
        if look.turn is not None:
            entry.history.turned(look.turn, self.now())
        if look.spec is not None:
            entry.history.sampled(_attained(look.spec, look.turn), now_s)

    def forget(self, service: str) -> None:
        """The service is gone."""
        self.entries.pop(service, None)


def _attained(spec: ServiceSpec, turn: Turn | None) -> dict[str, float | None]:
    judged = shares([view for view in turn.views if not view.silent]) if turn is not None else {}
    found = {each.name: judged.get((each.name, Objective.JOINT)) for each in spec.slo_classes}
    return {name: share.attainment if share else None for name, share in found.items()}
