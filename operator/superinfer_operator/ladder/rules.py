"""What a service allows its ladder: bounds, targets, patience.

Sizes are bytes, times are seconds of one steady clock that the caller owns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from superinfer_contract.metrics import Tier


class Lever(StrEnum):
    """What a rung moves. One step is in flight at a time; a lever whose step failed rests."""

    DRAM = "dram"
    HBM = "hbm"
    CLASSES = "classes"
    REPLICAS = "replicas"


LEVER = {Tier.DRAM: Lever.DRAM, Tier.HBM: Lever.HBM}
TIER = {lever: tier for tier, lever in LEVER.items()}


@dataclass(frozen=True, slots=True)
class TierBounds:
    """What the spec allows for one tier."""

    min_bytes: int
    max_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaBounds:
    """How many replicas the ladder may ask for."""

    min_replicas: int
    max_replicas: int


@dataclass(frozen=True, slots=True)
class Rules:
    """A service's rules. A tier without bounds is never moved, nor are replicas without bounds."""

    tiers: Mapping[Tier, TierBounds]
    targets: Mapping[str, float]  # of each SLO class: share of requests that are to be good
    weights: Mapping[str, float] = field(default_factory=dict)  # of each SLO class
    min_class_share: float = 1.0  # of the HBM budget; 1: no class is ever cut
    replicas: ReplicaBounds | None = None
    shares_gpus: bool = False  # with other services: HBM is taken from them, never out of thin air
    plan_only: bool = False
    window_s: float = 30.0
    min_events: int = 10
    hysteresis: float = 0.0
    cooldown_s: float = 30.0
    timeout_s: float = 60.0
    start_timeout_s: float = 1800.0  # for a replica to load its model
    max_steps_per_hour: int = 30
    shrink_after_s: float = 600.0
    shrink_below_use: float = 0.5
    stale_s: float = 15.0

    def time_to_land_s(self, lever: Lever) -> float:
        """How long a step of ``lever`` may take."""
        return self.start_timeout_s if lever is Lever.REPLICAS else self.timeout_s
