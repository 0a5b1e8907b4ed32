"""Is more KV memory needed, and of which tier? Read from one `Observed`, said in words.

The words end up in the status, in the events and on the screen, so each carries its numbers.
"""

from superinfer_contract.metrics import Objective, Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.ladder.rules import Rules
from superinfer_operator.ladder.view import Judged, Observed

FULL_BELOW = 0.1  # of the budget left: nothing of use fits any more
MARGIN = 0.5  # of the way from a class's target to perfection


def missed(rules: Rules, observed: Observed) -> list[Judged]:
    """Return the objectives that are below their class's target, the furthest below first.

    A single objective is named before the joint one when both miss: it says more.
    """
    late = [judged for judged in observed.judged if _is_missed(rules, judged)]
    return sorted(
        late,
        key=lambda judged: (
            judged.objective is Objective.JOINT,
            judged.good / judged.total - rules.targets[judged.slo_class],
            judged.slo_class,
            judged.objective,
        ),
    )


def _is_missed(rules: Rules, judged: Judged) -> bool:
    target = rules.targets.get(judged.slo_class)
    if target is None or judged.total < rules.min_events:
        return False
    return judged.good / judged.total < target - rules.hysteresis


def meets_with_margin(rules: Rules, observed: Observed) -> bool:
    """Whether every class that can be judged is well above its target."""
    return all(
        judged.good / judged.total >= target + MARGIN * (1 - target)
        for judged in observed.judged
        if judged.total >= rules.min_events
        for target in [rules.targets.get(judged.slo_class)]
        if target is not None
    )


def headroom_bytes(observed: Observed, tier: Tier) -> float:
    """What ``tier`` has left, as reported, or else by its state."""
    reported = observed.headroom_bytes.get(tier)
    if reported is not None:
        return reported
    held = observed.tiers.get(tier)
    return 0.0 if held is None else float(held.allocated_bytes - held.in_use_bytes)


def is_full(observed: Observed, tier: Tier) -> bool:
    """Whether ``tier`` has next to nothing left."""
    held = observed.tiers.get(tier)
    return held is not None and headroom_bytes(observed, tier) <= (
        FULL_BELOW * held.allocated_bytes
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
    held = observed.tiers.get(tier)
    if held is None:
        return f"no {tier.upper()} tier"
    left = format_bytes(max(0, int(headroom_bytes(observed, tier))))
    return f"{tier.upper()} headroom {left} of {format_bytes(held.allocated_bytes)}"


def say_dram_need(rules: Rules, observed: Observed) -> str:
    """Which signs there are that DRAM is short."""
    signs = []
    if observed.stalls:
        signs.append(f"{observed.stalls:.0f} stalled rotations")
    if observed.recomputes:
        signs.append(f"{observed.recomputes:.0f} recompute preemptions")
    said = f" ({' and '.join(signs)} in {rules.window_s:g} s)" if signs else ""
    return f"{observed.rotary} requests rotary{said}"
