"""The decision ladder: rotate more, then grow DRAM, then grow HBM; shrink what was long unused.

`decide` is pure: the same rules, view, memory and time give the same decision. What holds always:

* a budget never leaves what both the spec and the runtime allow;
* one step is in flight at a time, and it ends by showing up, or by being withdrawn after its
  time-out, after which its tier is left alone for a while and the next rung is tried;
* a tier shrinks to no less than what it lately held plus room, so the same load does not grow it;
* in Plan mode no decision is to be executed.

Each rung is a function that answers with a decision or passes.
"""

from collections.abc import Mapping
from dataclasses import replace

from superinfer_contract.kv_budget import TierState
from superinfer_contract.metrics import Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.budget_model import (
    GROW,
    SHRINK,
    Decision,
    Idle,
    LadderState,
    Observed,
    Rules,
    Rung,
    Step,
)
from superinfer_operator.pressure import (
    dram_is_short,
    is_full,
    missed,
    say_dram_need,
    say_headroom,
    say_missed,
)

HOUR_S = 3600.0
BLOCKED_FOR_TIMEOUTS = 5
ROOM_AFTER_SHRINK = 1.5  # of the peak: far from FULL_BELOW, so the same load does not grow it again


def decide(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> Decision:
    """Return what to do now. ``now_s`` never goes back from one call to the next."""
    recent = tuple(at_s for at_s in state.steps_s if at_s > now_s - HOUR_S)
    state = replace(state, steps_s=recent, idle=_idle(rules, observed, state, now_s))
    if state.in_flight is None:
        return _choose(rules, observed, state, now_s)
    step = state.in_flight
    if _has_landed(step, observed.tiers.get(step.tier)):
        settled = replace(state, in_flight=None, settled_s=now_s)
        return replace(_choose(rules, observed, settled, now_s), ended=step, landed=True)
    if now_s - step.since_s < rules.timeout_s:
        return Decision(Rung.HOLD, f"waiting for {_say(step)}", state)
    return _give_up(rules, observed, state, step, now_s)


def refused(rules: Rules, state: LadderState, now_s: float) -> LadderState:
    """Return the memory after the runtime refused the step in flight: its tier rests."""
    if state.in_flight is None:
        return state
    blocked = _block(rules, state, state.in_flight.tier, now_s)
    return replace(state, in_flight=None, settled_s=now_s, blocked_until_s=blocked)


def _choose(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> Decision:
    """Climb the ladder with no step in flight."""
    age_s = observed.telemetry_age_s
    if age_s is None or age_s > rules.stale_s:
        said = "no telemetry yet" if age_s is None else f"no telemetry for {age_s:.0f} s"
        return Decision(Rung.HOLD, said, replace(state, rotating_since_s=None, idle={}))
    for tier, held in observed.tiers.items():
        if held.pending:
            return Decision(Rung.HOLD, f"the runtime is still moving {tier.upper()}", state)
    if missed(rules, observed) is None and not dram_is_short(observed):
        state = replace(state, rotating_since_s=None)
        return _shrink(rules, observed, state, now_s) or _content(observed, state)
    return _grow(rules, observed, state, now_s)


def _content(observed: Observed, state: LadderState) -> Decision:
    if observed.rotary:
        why = (
            f"objectives met with {observed.rotary} requests rotary; "
            f"{say_headroom(observed, Tier.DRAM)}"
        )
        return Decision(Rung.ROTATE_MORE, why, state)
    return Decision(Rung.HOLD, "objectives met, no pressure on KV memory", state)


def _grow(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> Decision:
    late = missed(rules, observed)
    need = say_dram_need(rules, observed) if late is None else say_missed(rules, late)
    why_not: list[str] = []
    if observed.rotation_off_reason is not None:
        why_not.append(f"rotation is off ({observed.rotation_off_reason})")
    elif Tier.DRAM not in observed.tiers:
        why_not.append("no DRAM tier")
    elif not dram_is_short(observed) and not is_full(observed, Tier.DRAM):
        why_not.append(say_headroom(observed, Tier.DRAM))
        since_s = now_s if state.rotating_since_s is None else state.rotating_since_s
        state = replace(state, rotating_since_s=since_s)
        if now_s - since_s < rules.window_s:
            why = f"{need}; {why_not[0]}: rotation has room to help"
            return Decision(Rung.ROTATE_MORE, why, state)
    else:
        state = replace(state, rotating_since_s=None)
        need = f"{need}; {say_headroom(observed, Tier.DRAM)}"
        grown = _grow_tier(rules, observed, state, Tier.DRAM, need, now_s)
        if isinstance(grown, Decision):
            return grown
        why_not.append(grown)
    if is_full(observed, Tier.HBM) or observed.waiting or observed.rotary:
        grown = _grow_tier(rules, observed, state, Tier.HBM, "; ".join([need, *why_not]), now_s)
        if isinstance(grown, Decision):
            return grown
        why_not.append(grown)
    else:
        why_not.append("no request lacks HBM")
    return Decision(Rung.EXHAUSTED, f"{need}; {'; '.join(why_not)}: no rung left", state)


def _grow_tier(
    rules: Rules, observed: Observed, state: LadderState, tier: Tier, need: str, now_s: float
) -> Decision | str:
    """Grow ``tier`` by a step, or say why it cannot grow."""
    bounds, held = rules.tiers.get(tier), observed.tiers.get(tier)
    if bounds is None or held is None:
        return f"{tier.upper()} has no bounds in the spec"
    if now_s < state.blocked_until_s.get(tier, now_s):
        return f"{tier.upper()} rests after a step that failed"
    to_bytes = _within(rules, tier, held, held.desired_bytes + bounds.step_bytes)
    if to_bytes is None or to_bytes <= held.desired_bytes:
        return f"{tier.upper()} is at its maximum of {format_bytes(held.desired_bytes)}"
    return _step(rules, state, GROW[tier], tier, held, to_bytes, need, now_s)


def _shrink(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> Decision | None:
    for tier, bounds in rules.tiers.items():
        held, idle = observed.tiers.get(tier), state.idle.get(tier)
        if held is None or idle is None or now_s - idle.since_s < rules.shrink_after_s:
            continue
        if now_s < state.blocked_until_s.get(tier, now_s):
            continue
        keep_bytes = int(idle.peak_bytes * ROOM_AFTER_SHRINK) + held.step_bytes
        wished_bytes = max(held.desired_bytes - bounds.step_bytes, keep_bytes)
        to_bytes = _within(rules, tier, held, wished_bytes)
        if to_bytes is None or to_bytes >= held.desired_bytes:
            continue
        why = (
            f"{tier.upper()} held at most {format_bytes(idle.peak_bytes)} of "
            f"{format_bytes(held.desired_bytes)} for {now_s - idle.since_s:.0f} s"
        )
        return _step(rules, state, SHRINK[tier], tier, held, to_bytes, why, now_s)
    return None


def _step(
    rules: Rules,
    state: LadderState,
    rung: Rung,
    tier: Tier,
    held: TierState,
    to_bytes: int,
    why: str,
    now_s: float,
) -> Decision:
    """Take a step if the cool-down and the hourly cap allow it."""
    verb = "grow" if rung is GROW[tier] else "shrink"
    move = f"{verb} {tier.upper()} {format_bytes(held.desired_bytes)} -> {format_bytes(to_bytes)}"
    if state.settled_s is not None and now_s - state.settled_s < rules.cooldown_s:
        rest_s = rules.cooldown_s - (now_s - state.settled_s)
        return Decision(Rung.HOLD, f"{why}: {move} after a pause of {rest_s:.0f} s", state)
    if len(state.steps_s) >= rules.max_steps_per_hour:
        cap = f"{len(state.steps_s)} steps were taken within the hour, the most allowed"
        return Decision(Rung.HOLD, f"{why}: {move} must wait, {cap}", state)
    reason = f"{why}: {move}"
    if not rules.plan_only:
        idle = {other: seen for other, seen in state.idle.items() if other is not tier}
        step = Step(rung, tier, held.desired_bytes, to_bytes, now_s, reason)
        state = replace(
            state, in_flight=step, steps_s=(*state.steps_s, now_s), idle=idle, rotating_since_s=None
        )
    return Decision(
        rung, reason, state, tier, held.desired_bytes, to_bytes, execute=not rules.plan_only
    )


def _give_up(
    rules: Rules, observed: Observed, state: LadderState, step: Step, now_s: float
) -> Decision:
    """End a step that took too long: wish for what its tier holds now, and let the tier rest."""
    blocked = _block(rules, state, step.tier, now_s)
    state = replace(state, in_flight=None, settled_s=now_s, blocked_until_s=blocked)
    held = observed.tiers.get(step.tier)
    late = f"{_say(step)} did not take effect within {rules.timeout_s:g} s"
    to_bytes = None
    if step.rung is not Rung.WITHDRAW and held is not None and held.pending:
        to_bytes = _within(rules, step.tier, held, held.allocated_bytes)
    if held is None or to_bytes is None or to_bytes == held.desired_bytes:
        following = _choose(rules, observed, state, now_s)
        return replace(following, reason=f"{late}; {following.reason}", ended=step)
    reason = f"{late}: back to {format_bytes(to_bytes)}"
    undo = Step(Rung.WITHDRAW, step.tier, held.desired_bytes, to_bytes, now_s, reason)
    return Decision(
        Rung.WITHDRAW,
        reason,
        replace(state, in_flight=undo),
        step.tier,
        held.desired_bytes,
        to_bytes,
        execute=True,
        ended=step,
    )


def _has_landed(step: Step, held: TierState | None) -> bool:
    """The tier came to rest elsewhere than it was; where to is the runtime's rounding."""
    return held is not None and not held.pending and held.desired_bytes != step.from_bytes


def _within(rules: Rules, tier: Tier, held: TierState, wished_bytes: int) -> int | None:
    """Return ``wished_bytes`` in whole units within what the spec and the runtime allow.

    None: they have no whole unit in common.
    """
    bounds = rules.tiers[tier]
    unit = max(1, held.step_bytes)
    low = -(-max(bounds.min_bytes, held.min_bytes) // unit) * unit
    high = min(bounds.max_bytes, held.max_bytes) // unit * unit
    return min(max(wished_bytes // unit * unit, low), high) if low <= high else None


def _idle(
    rules: Rules, observed: Observed, state: LadderState, now_s: float
) -> Mapping[Tier, Idle]:
    idle = {}
    for tier, held in observed.tiers.items():
        if held.in_use_bytes < rules.shrink_below_use * held.allocated_bytes:
            before = state.idle.get(tier, Idle(now_s, 0))
            idle[tier] = Idle(before.since_s, max(before.peak_bytes, held.in_use_bytes))
    return idle


def _block(rules: Rules, state: LadderState, tier: Tier, now_s: float) -> Mapping[Tier, float]:
    return {**state.blocked_until_s, tier: now_s + BLOCKED_FOR_TIMEOUTS * rules.timeout_s}


def _say(step: Step) -> str:
    tier, start, end = step.tier.upper(), format_bytes(step.from_bytes), format_bytes(step.to_bytes)
    return f"{tier} {start} -> {end}"
