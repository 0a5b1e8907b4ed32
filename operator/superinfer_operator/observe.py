"""What the ladder is told: a service's rules from its spec, its view from its replicas.

Both are pure translations. Sizes come from the runtimes' own answers (they are exact and fresh),
attainment and pressure from their telemetry. Replicas are taken together so that a budget which
holds for the view holds for each of them: what is allocated is the least, what is in use the most.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from superinfer_contract.kv_budget import KvBudget, TierState
from superinfer_contract.metrics import (
    KV_HEADROOM,
    RECOMPUTE_PREEMPTIONS,
    REQUESTS,
    ROTATION_STALLS,
    Metric,
    Objective,
    Tier,
)
from superinfer_contract.service import ServiceSpec, TierSpec

from superinfer_operator.converge import settled_bytes, shares_agree
from superinfer_operator.ladder.rules import ReplicaBounds, Rules, TierBounds
from superinfer_operator.ladder.step import whole_units
from superinfer_operator.ladder.view import (
    Judged,
    Neighbourhood,
    Observed,
    Refusal,
    RefusalKind,
    TierView,
)
from superinfer_operator.replica import ReplicaView
from superinfer_operator.telemetry.windows import Share
from superinfer_operator.wish import Wish

MISSED_REPORTS = 3
REPORT_GRACE_S = 2.0
GRAVEST_FIRST = (RefusalKind.INFEASIBLE, RefusalKind.ERROR, RefusalKind.DEFERRED)


def stale_s(spec: ServiceSpec) -> float:
    """Return the age in seconds from which telemetry means nothing: a few missed reports."""
    return MISSED_REPORTS * spec.telemetry.interval_s + REPORT_GRACE_S


def rules(spec: ServiceSpec) -> Rules:
    """Return the ladder's rules for a service."""
    tiers = {Tier.DRAM: spec.kv_cache.dram, Tier.HBM: spec.kv_cache.hbm}
    knobs, scaling = spec.budget, spec.autoscaling
    replicas = None
    if scaling is not None and scaling.scaler == "Ladder":
        replicas = ReplicaBounds(scaling.min_replicas, scaling.max_replicas)
    return Rules(
        tiers={tier: _bounds(bounds) for tier, bounds in tiers.items() if bounds is not None},
        targets={slo_class.name: slo_class.target for slo_class in spec.slo_classes},
        weights={slo_class.name: slo_class.weight for slo_class in spec.slo_classes},
        min_class_share=knobs.min_class_share,
        replicas=replicas,
        shares_gpus=spec.placement.share_group is not None,
        plan_only=spec.mode == "Plan",
        window_s=knobs.window_s,
        min_events=knobs.min_events,
        hysteresis=knobs.hysteresis,
        cooldown_s=knobs.cooldown_s,
        timeout_s=knobs.timeout_s,
        start_timeout_s=spec.rollout.start_timeout_s,
        max_steps_per_hour=knobs.max_steps_per_hour,
        shrink_after_s=knobs.shrink_after_s,
        shrink_below_use=knobs.shrink_below_use,
        stale_s=stale_s(spec),
    )


def _bounds(tier: TierSpec) -> TierBounds:
    return TierBounds(tier.min, tier.max, tier.step_bytes)


def observed(
    views: Sequence[ReplicaView], wish: Wish, neighbourhood: Neighbourhood | None = None
) -> Observed:
    """Return the ladder's view of a service. A tier without a wish is seen as it is."""
    present = [view for view in views if view.ready and view.budget is not None]
    budgets = [view.budget for view in present if view.budget is not None]
    heard = [view for view in present if not view.silent]
    ages = [view.snapshot.age_s for view in present if view.snapshot.age_s is not None]
    return Observed(
        tiers=_tiers(budgets, wish),
        judged=tuple(
            Judged(slo_class, objective, share.good, share.total)
            for (slo_class, objective), share in sorted(shares(heard).items())
        ),
        headroom_bytes={
            tier: min(left) for tier in Tier if (left := _gauges(heard, KV_HEADROOM, tier))
        },
        waiting=int(sum(_gauges(heard, REQUESTS, "waiting"))),
        rotary=int(sum(_gauges(heard, REQUESTS, "rotary"))),
        stalls=sum(view.snapshot.rise(ROTATION_STALLS) for view in heard),
        recomputes=sum(view.snapshot.rise(RECOMPUTE_PREEMPTIONS) for view in heard),
        telemetry_age_s=min(ages, default=None),
        rotation_off_reason=_rotation_off_reason(budgets),
        class_shares=wish.class_shares,
        classes_pending=any(not shares_agree(wish, budget) for budget in budgets),
        replicas=wish.replicas,
        ready_replicas=sum(view.ready for view in views),
        silent=tuple(view.name for view in present if view.silent),
        absent=tuple(view.name for view in views if view not in present),
        refusal=_gravest(views),
        neighbourhood=neighbourhood or Neighbourhood(),
    )


def shares(views: Sequence[ReplicaView]) -> dict[tuple[str, Objective], Share]:
    """Return how the service as a whole fared, by class and objective."""
    found: dict[tuple[str, Objective], Share] = {}
    for view in views:
        for key, share in view.snapshot.shares.items():
            before = found.get(key, Share(0, 0))
            found[key] = Share(before.good + share.good, before.total + share.total)
    return found


def _tiers(budgets: Sequence[KvBudget], wish: Wish) -> dict[Tier, TierView]:
    if not budgets:
        return {}
    return {
        Tier.DRAM: _tier([budget.dram for budget in budgets], wish.dram_bytes),
        Tier.HBM: _tier([budget.hbm for budget in budgets], wish.hbm_bytes),
    }


def _tier(states: Sequence[TierState], wished_bytes: int | None) -> TierView:
    view = TierView(
        min_bytes=max(state.min_bytes for state in states),
        max_bytes=min(state.max_bytes for state in states),
        desired_bytes=min(state.desired_bytes for state in states),
        allocated_bytes=min(state.allocated_bytes for state in states),
        most_allocated_bytes=max(state.allocated_bytes for state in states),
        in_use_bytes=max(state.in_use_bytes for state in states),
        step_bytes=math.lcm(*(max(1, state.step_bytes) for state in states)),
        pending=any(state.pending for state in states),
    )
    if wished_bytes is None:
        return view
    return replace(
        view,
        desired_bytes=_in_common(wished_bytes, view, states),
        pending=view.pending
        or any(settled_bytes(wished_bytes, state) != state.desired_bytes for state in states),
    )


def _in_common(wished_bytes: int, view: TierView, states: Sequence[TierState]) -> int:
    """What the wish comes to in every replica, or else in the first."""
    whole = whole_units(wished_bytes, view.min_bytes, view.max_bytes, view)
    return settled_bytes(wished_bytes, states[0]) if whole is None else whole


def _gauges(views: Sequence[ReplicaView], metric: Metric, value: str) -> list[float]:
    found = (view.snapshot.gauge(metric, value) for view in views)
    return [each for each in found if each is not None]


def _rotation_off_reason(budgets: Sequence[KvBudget]) -> str | None:
    for budget in budgets:
        if not budget.rotation_enabled:
            return budget.rotation_off_reason or "the runtime switched it off"
    return None


def _gravest(views: Sequence[ReplicaView]) -> Refusal | None:
    refusals = [view.memory.refusal for view in views if view.memory and view.memory.refusal]
    return min(refusals, key=lambda each: GRAVEST_FIRST.index(each.kind), default=None)
