"""Rules and views for tests of the decision ladder, in MiB and by example."""

from dataclasses import replace
from typing import Any

from superinfer_contract.metrics import Objective, Tier
from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.rules import ReplicaBounds, Rules, TierBounds
from superinfer_operator.ladder.view import Judged, Observed, TierView

MIB = 2**20
RULES = Rules(
    tiers={
        Tier.DRAM: TierBounds(4 * MIB, 32 * MIB, 8 * MIB),
        Tier.HBM: TierBounds(4 * MIB, 8 * MIB, 1 * MIB),
    },
    targets={"chat": 0.95, "batch": 0.8},
    window_s=15,
    min_events=10,
    cooldown_s=10,
    timeout_s=60,
    shrink_after_s=600,
)
ALL_RUNGS = replace(
    RULES,
    weights={"chat": 1.0, "batch": 0.1},
    min_class_share=0.25,
    replicas=ReplicaBounds(1, 3),
)


def tier(
    allocated_mib: int, used_mib: int, *, desired_mib: int | None = None, most_mib: int = 0
) -> TierView:
    desired_mib = allocated_mib if desired_mib is None else desired_mib
    return TierView(
        min_bytes=0,
        max_bytes=64 * MIB,
        desired_bytes=desired_mib * MIB,
        allocated_bytes=allocated_mib * MIB,
        most_allocated_bytes=max(allocated_mib, most_mib) * MIB,
        in_use_bytes=used_mib * MIB,
        step_bytes=MIB,
        pending=desired_mib != allocated_mib or most_mib > allocated_mib,
    )


def seen(dram: TierView | None = None, hbm: TierView | None = None, **rest: Any) -> Observed:
    tiers = {Tier.DRAM: dram or tier(16, 16), Tier.HBM: hbm or tier(6, 6)}
    return Observed(tiers=tiers, **rest)


LATE = (Judged("chat", Objective.TTFT, 30, 42), Judged("chat", Objective.JOINT, 29, 42))
BATCH_LATE = (Judged("chat", Objective.TTFT, 42, 42), Judged("batch", Objective.TTFT, 5, 42))
GOOD = (Judged("chat", Objective.TTFT, 42, 42),)
START = LadderState()
FULL = (tier(32, 32), tier(8, 8))
