"""The words that the decision ladder is told and answers in: plain frozen data.

Sizes are bytes, times are seconds of one steady clock that the caller owns.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from superinfer_contract.kv_budget import KvBudgetPatch, TierState
from superinfer_contract.metrics import Objective, Tier


class Rung(StrEnum):
    """What was decided, in the order of the ladder."""

    HOLD = "Hold"  # nothing to do, or nothing may be done now
    ROTATE_MORE = "RotateMore"  # the scheduler rotates and has DRAM left: nothing to patch
    GROW_DRAM = "GrowDRAM"
    GROW_HBM = "GrowHBM"
    EXHAUSTED = "Exhausted"  # more is needed, and no rung is left
    SHRINK_DRAM = "ShrinkDRAM"
    SHRINK_HBM = "ShrinkHBM"
    WITHDRAW = "Withdraw"  # a step took too long: its tier is set to what it holds now


GROW = {Tier.DRAM: Rung.GROW_DRAM, Tier.HBM: Rung.GROW_HBM}
SHRINK = {Tier.DRAM: Rung.SHRINK_DRAM, Tier.HBM: Rung.SHRINK_HBM}

_NUMBER = re.compile(r"\d[\d.]*([KMGT]i)?")


@dataclass(frozen=True, slots=True)
class TierBounds:
    """What the spec allows for one tier."""

    min_bytes: int
    max_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class Rules:
    """A service's rules for moving budgets; a tier without bounds is never moved."""

    tiers: Mapping[Tier, TierBounds]
    targets: Mapping[str, float]  # of each SLO class: share of requests that are to be good
    plan_only: bool = False
    window_s: float = 30.0
    min_events: int = 10
    hysteresis: float = 0.0
    cooldown_s: float = 30.0
    timeout_s: float = 60.0
    max_steps_per_hour: int = 30
    shrink_after_s: float = 600.0
    shrink_below_use: float = 0.5
    stale_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Judged:
    """How a class fared against one objective within the window."""

    slo_class: str
    objective: Objective
    good: int
    total: int


@dataclass(frozen=True, slots=True)
class Observed:
    """One moment's view of a running service."""

    tiers: Mapping[Tier, TierState]
    judged: tuple[Judged, ...] = ()
    headroom_bytes: Mapping[Tier, float] = field(default_factory=dict)
    waiting: int = 0
    rotary: int = 0
    stalls: float = 0.0  # in the window: a rotation was wanted and DRAM had no room
    recomputes: float = 0.0  # in the window: requests that lost their KV
    telemetry_age_s: float | None = 0.0  # None: none yet
    rotation_off_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A budget change: wished for at ``since_s``, in flight until it shows."""

    rung: Rung
    tier: Tier
    from_bytes: int
    to_bytes: int
    since_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A tier that has been little used since ``since_s``, and the most that it held since."""

    since_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class LadderState:
    """What the ladder remembers from one decision to the next."""

    in_flight: Step | None = None
    steps_s: tuple[float, ...] = ()  # when steps were taken, within the last hour
    settled_s: float | None = None  # when the last step ended
    rotating_since_s: float | None = None  # objectives missed although DRAM has room
    idle: Mapping[Tier, Idle] = field(default_factory=dict)
    blocked_until_s: Mapping[Tier, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The rung, why, and the state to pass in next time.

    ``ended`` is the step that this decision found finished: ``landed`` or given up.
    """

    rung: Rung
    reason: str
    state: LadderState
    tier: Tier | None = None
    from_bytes: int | None = None
    to_bytes: int | None = None
    execute: bool = False
    ended: Step | None = None
    landed: bool = False

    @property
    def topic(self) -> tuple[object, ...]:
        """What tells this decision from another but for the numbers in its reason."""
        return self.rung, self.tier, self.to_bytes, _NUMBER.sub("#", self.reason)

    def patch(self) -> KvBudgetPatch | None:
        """Body of the PATCH that carries this decision out; None when there is nothing to do."""
        if not self.execute or self.to_bytes is None:
            return None
        if self.tier is Tier.HBM:
            return KvBudgetPatch(hbm_bytes=self.to_bytes)
        return KvBudgetPatch(dram_bytes=self.to_bytes)
