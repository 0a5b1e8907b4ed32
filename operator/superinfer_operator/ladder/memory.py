"""What the ladder remembers from one decision to the next. Losing it costs a pause, no more."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.move import Step
from superinfer_operator.ladder.room import lowerable
from superinfer_operator.ladder.rules import Lever, Rules
from superinfer_operator.ladder.view import Observed

HOUR_S = 3600.0


class Cause(StrEnum):
    """Why a step failed."""

    TIMED_OUT = "TimedOut"
    NODE_FULL = "NodeFull"  # the pod's resize was deferred
    INFEASIBLE = "Infeasible"  # the pod cannot be resized on its node
    RESIZE_FAILED = "ResizeFailed"  # the kubelet tried and failed
    REFUSED = "Refused"  # the runtime said no


@dataclass(frozen=True, slots=True)
class Rest:
    """A lever that is left alone until ``until_s``, because its last step failed."""

    until_s: float
    cause: Cause
    message: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A lever that could be lowered since ``since_s``, and the most that was held since."""

    since_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class LadderState:
    """The memory itself."""

    in_flight: Step | None = None
    steps_s: tuple[float, ...] = ()  # when steps were taken, within the last hour
    settled_s: float | None = None  # when the last step ended
    rotating_since_s: float | None = None  # objectives missed although DRAM has room
    idle: Mapping[Lever, Idle] = field(default_factory=dict)
    resting: Mapping[Lever, Rest] = field(default_factory=dict)
    pending_since_s: Mapping[Tier, float] = field(default_factory=dict)
    lowered_s: Mapping[Lever, float] = field(default_factory=dict)
    patience: Mapping[Lever, float] = field(default_factory=dict)
    """How many times longer than `Rules.shrink_after_s` a lever waits: it grows where a lever was
    lowered and soon needed again."""


def noticed(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> LadderState:
    """Return the memory with what this moment adds and without what has passed."""
    return replace(
        state,
        steps_s=tuple(at_s for at_s in state.steps_s if at_s > now_s - HOUR_S),
        resting={lever: rest for lever, rest in state.resting.items() if rest.until_s > now_s},
        pending_since_s={
            tier: state.pending_since_s.get(tier, now_s)
            for tier, held in observed.tiers.items()
            if held.pending
        },
        idle={
            lever: Idle(before.since_s, max(before.peak_bytes, held_bytes))
            for lever, held_bytes in lowerable(rules, observed).items()
            for before in [state.idle.get(lever, Idle(now_s, 0))]
        },
    )
