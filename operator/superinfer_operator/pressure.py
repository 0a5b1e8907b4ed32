"""Is more KV memory needed, and of which tier? Read from one `Observed`, said in words.

The words end up in the status, in the events and on the screen, so each carries its numbers.
"""

from superinfer_contract.metrics import Objective, Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.budget_model import Judged, Observed, Rules

FULL_BELOW = 0.1  # of the budget left: nothing of use fits any more


def missed(rules: Rules, observed: Observed) -> Judged | None:
    """Return the objective that is furthest below its class's target, if one is.

    A single objective is named rather than the joint one when both miss: it says more.
    """
    late = [judged for judged in observed.judged if _is_missed(rules, judged)]
    return min(
        late,
        key=lambda judged: (
            judged.objective is Objective.JOINT,
            judged.good / judged.total - rules.targets[judged.slo_class],
            judged.slo_class,
            judged.objective,
        ),
        default=None,
    )


def _is_missed(rules: Rules, judged: Judged) -> bool:
    target = rules.targets.get(judged.slo_class)
    if target is None or judged.total < rules.min_events:
        return False
    return judged.good / judged.total < target - rules.hysteresis


def headroom_bytes(observed: Observed, tier: Tier) -> float:
    """What ``tier`` has left, as reported, or else by its state."""
    reported = observed.headroom_bytes.get(tier)
    if reported is not None:
        return reported
    state = observed.tiers.get(tier)
    return 0.0 if state is None else float(state.allocated_bytes - state.in_use_bytes)


def is_full(observed: Observed, tier: Tier) -> bool:
    """Whether ``tier`` has next to nothing left."""
    state = observed.tiers.get(tier)
    return state is not None and headroom_bytes(observed, tier) <= (
        FULL_BELOW * state.allocated_bytes
    )


def dram_is_short(observed: Observed) -> bool:
    """Whether rotation wanted DRAM that was not there."""
    in_need = observed.rotary > 0 or observed.recomputes > 0
    return observed.stalls > 0 or (in_need and is_full(observed, Tier.DRAM))


def say_missed(rules: Rules, judged: Judged) -> str:
    """``class chat met TTFT for 71 % of 42 requests in 15 s, target 95 %``."""
    met = {Objective.JOINT: "both objectives"}.get(judged.objective, judged.objective.upper())
    return (
        f"class {judged.slo_class} met {met} for {judged.good / judged.total * 100:.0f} % of "
        f"{judged.total} requests in {rules.window_s:g} s, "
        f"target {rules.targets[judged.slo_class] * 100:g} %"
    )


def say_headroom(observed: Observed, tier: Tier) -> str:
    """``DRAM headroom 2Mi of 16Mi``."""
    state = observed.tiers.get(tier)
    if state is None:
        return f"no {tier.upper()} tier"
    left = format_bytes(max(0, int(headroom_bytes(observed, tier))))
    return f"{tier.upper()} headroom {left} of {format_bytes(state.allocated_bytes)}"


def say_dram_need(rules: Rules, observed: Observed) -> str:
    """Which signs there are that DRAM is short."""
    signs = []
    if observed.stalls:
        signs.append(f"{observed.stalls:.0f} stalled rotations")
    if observed.recomputes:
        signs.append(f"{observed.recomputes:.0f} recompute preemptions")
    said = f" ({' and '.join(signs)} in {rules.window_s:g} s)" if signs else ""
    return f"{observed.rotary} requests rotary{said}"
