"""What the ladder is told: a service's rules from its spec, its view from telemetry and budgets.

Both are pure translations. Sizes come from the runtime's own answer (it is exact and fresh),
attainment and pressure from its telemetry.
"""

from superinfer_contract.kv_budget import KvBudget
from superinfer_contract.metrics import (
    KV_HEADROOM,
    RECOMPUTE_PREEMPTIONS,
    REQUESTS,
    ROTATION_STALLS,
    Tier,
)

from superinfer_operator.budget_model import Judged, Observed, Rules, TierBounds
from superinfer_operator.spec import ServiceSpec, TierSpec
from superinfer_operator.telemetry.windows import Snapshot

MISSED_REPORTS = 3
REPORT_GRACE_S = 2.0


def stale_s(spec: ServiceSpec) -> float:
    """Return the age in seconds from which telemetry means nothing: a few missed reports."""
    return MISSED_REPORTS * spec.telemetry.interval_s + REPORT_GRACE_S


def rules(spec: ServiceSpec) -> Rules:
    """Return the ladder's rules for a service."""
    tiers = {Tier.DRAM: spec.kv_cache.dram, Tier.HBM: spec.kv_cache.hbm}
    knobs = spec.budget
    return Rules(
        tiers={tier: _bounds(bounds) for tier, bounds in tiers.items() if bounds is not None},
        targets={slo_class.name: slo_class.target for slo_class in spec.slo_classes},
        plan_only=spec.mode == "Plan",
        window_s=knobs.window_s,
        min_events=knobs.min_events,
        hysteresis=knobs.hysteresis,
        cooldown_s=knobs.cooldown_s,
        timeout_s=knobs.timeout_s,
        max_steps_per_hour=knobs.max_steps_per_hour,
        shrink_after_s=knobs.shrink_after_s,
        shrink_below_use=knobs.shrink_below_use,
        stale_s=stale_s(spec),
    )


def _bounds(tier: TierSpec) -> TierBounds:
    return TierBounds(tier.min, tier.max, tier.step_bytes)


def observed(snapshot: Snapshot, budget: KvBudget) -> Observed:
    """Return the ladder's view of one runtime."""
    headroom = {tier: snapshot.gauge(KV_HEADROOM, tier) for tier in Tier}
    off_reason = None
    if not budget.rotation_enabled:
        off_reason = budget.rotation_off_reason or "the runtime switched it off"
    return Observed(
        tiers={Tier.DRAM: budget.dram, Tier.HBM: budget.hbm},
        judged=tuple(
            Judged(slo_class, objective, share.good, share.total)
            for (slo_class, objective), share in sorted(snapshot.shares.items())
        ),
        headroom_bytes={tier: left for tier, left in headroom.items() if left is not None},
        waiting=int(snapshot.gauge(REQUESTS, "waiting") or 0),
        rotary=int(snapshot.gauge(REQUESTS, "rotary") or 0),
        stalls=snapshot.rise(ROTATION_STALLS),
        recomputes=snapshot.rise(RECOMPUTE_PREEMPTIONS),
        telemetry_age_s=snapshot.age_s,
        rotation_off_reason=off_reason,
    )
