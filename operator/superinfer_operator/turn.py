"""What one turn of the loop over a service saw, decided and left to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import Rest
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.ladder.view import Observed
from superinfer_operator.replica import ReplicaView
from superinfer_operator.wish import Wish


class Outcome(StrEnum):
    """What became of a decision."""

    NO_CHANGE = "no-change"  # the decision moves nothing
    PLANNED = "planned"  # Plan mode: would be done
    SENT = "sent"  # it is being carried out
    REFUSED = "refused"  # a runtime said no; the trouble says why
    LANDED = "landed"  # it is in force
    TIMED_OUT = "timed-out"


@dataclass(frozen=True, slots=True)
class Resize:
    """A pod's memory limit (and request) is to become ``limit_bytes``."""

    replica: str
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn. ``resizes`` and ``wish.replicas`` are for the caller to carry out."""

    views: tuple[ReplicaView, ...]  # one a replica, in the order given
    seen: Observed  # all of them together
    decision: Decision
    outcome: Outcome
    wish: Wish  # after the decision
    resizes: tuple[Resize, ...] = ()
    resting: Mapping[Lever, Rest] = field(default_factory=dict)  # whose last step failed, and why

    @property
    def trouble(self) -> str:
        """What is wrong with which replica; empty when nothing is."""
        alone = len(self.views) == 1
        said = [
            view.trouble if alone else f"{view.name}: {view.trouble}"
            for view in self.views
            if view.trouble
        ]
        return "; ".join(said)
