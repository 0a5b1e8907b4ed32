"""What to do now: wait for the step in flight, give it up, climb, or give back.

What holds always:

* a wish never leaves what both the spec and the runtimes allow;
* one step is in flight at a time, and it ends by showing up in every replica, or by being withdrawn
  after its time-out (at once when it can never be), after which its lever rests and the next rung
  is tried;
* nothing is lowered below what was lately held plus room, so the same load does not raise it again;
* without fresh telemetry nothing is begun, and in Plan mode nothing is carried out.
"""

from dataclasses import replace

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.climb import climb
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.descend import descend, restore_class
from superinfer_operator.ladder.memory import Cause, LadderState, Rest, noticed
from superinfer_operator.ladder.move import Move, Rung, Step
from superinfer_operator.ladder.pressure import dram_is_short, missed, say_headroom
from superinfer_operator.ladder.rules import LEVER, Lever, Rules
from superinfer_operator.ladder.step import Look
from superinfer_operator.ladder.view import Observed, Refusal, RefusalKind

REST_TIMEOUTS = 5
GROW = {Tier.DRAM: Rung.GROW_DRAM, Tier.HBM: Rung.GROW_HBM}
CAUSES = {
    RefusalKind.DEFERRED: Cause.NODE_FULL,
    RefusalKind.INFEASIBLE: Cause.INFEASIBLE,
    RefusalKind.ERROR: Cause.RESIZE_FAILED,
}


def decide(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> Decision:
    """Return what to do now. ``now_s`` never goes back from one call to the next."""
    look = Look(rules, observed, noticed(rules, observed, state, now_s), now_s)
    step = state.in_flight
    if step is None:
        return _choose(look)
    if _has_landed(step.move, observed):
        settled = replace(look.state, in_flight=None, settled_s=now_s)
        return replace(_choose(replace(look, state=settled)), ended=step, landed=True)
    if _is_hopeless(step.move, observed):
        return _give_up(look, step, "cannot take effect")
    allowed_s = rules.time_to_land_s(step.move.lever)
    if now_s - step.since_s < allowed_s:
        return look.hold(f"waiting for {step.move}{_say_refusal(step.move, observed)}")
    return _give_up(look, step, f"did not take effect within {allowed_s:g} s")


def refused(
    rules: Rules, state: LadderState, message: str, now_s: float
) -> tuple[LadderState, Move | None]:
    """A runtime said no to the step in flight: return the memory, and the way back."""
    step = state.in_flight
    if step is None:
        return state, None
    rest = Rest(now_s + _rest_s(rules, step.move.lever), Cause.REFUSED, message)
    resting = {**state.resting, step.move.lever: rest}
    state = replace(state, in_flight=None, settled_s=now_s, resting=resting)
    return state, replace(step.move, rung=Rung.WITHDRAW, start=step.move.end, end=step.move.start)


def _choose(look: Look) -> Decision:
    """Climb, give back or hold, with no step in flight."""
    rules, observed, state = look.rules, look.observed, look.state
    blind = _say_blind(rules, observed)
    if blind is not None:
        return Decision(Rung.HOLD, blind, replace(state, rotating_since_s=None, idle={}))
    for tier, since_s in state.pending_since_s.items():
        if look.now_s - since_s < rules.timeout_s and not _never_lands(tier, observed):
            return look.hold(f"{tier.upper()} is still moving to what was wished for")
        lost = _lost_step(look, tier, since_s)
        if lost is not None:
            return _give_up(look, lost, f"did not take effect within {rules.timeout_s:g} s")
    late = missed(rules, observed)
    if late or dram_is_short(observed):
        return (restore_class(look) if late else None) or climb(look)
    look = replace(look, state=replace(state, rotating_since_s=None))
    return descend(look) or _content(look)


def _say_blind(rules: Rules, observed: Observed) -> str | None:
    """Say what keeps the ladder from judging, if something does."""
    age_s = observed.telemetry_age_s
    if not observed.tiers:
        return "no replica is ready and answers"
    if age_s is None:
        return "no telemetry yet"
    return f"no telemetry for {age_s:.0f} s" if age_s > rules.stale_s else None


def _content(look: Look) -> Decision:
    observed = look.observed
    if observed.rotary:
        why = (
            f"objectives met with {observed.rotary} requests rotary; "
            f"{say_headroom(observed, Tier.DRAM)}"
        )
        return Decision(Rung.ROTATE_MORE, why, look.state)
    return look.hold("objectives met, no pressure on KV memory")


def _give_up(look: Look, step: Step, late: str) -> Decision:
    """End a step that failed: wish for what is held now, and let its lever rest."""
    move, refusal = step.move, _refusal(step.move, look.observed)
    cause = Cause.TIMED_OUT if refusal is None else CAUSES[refusal.kind]
    told = f"{move} {late}{_say_refusal(move, look.observed)}"
    rest = Rest(look.now_s + _rest_s(look.rules, move.lever), cause, told)
    state = replace(
        look.state,
        in_flight=None,
        settled_s=look.now_s,
        resting={**look.state.resting, move.lever: rest},
    )
    held = _held(look, move)
    if move.rung is Rung.WITHDRAW or held == move.end:
        following = _choose(replace(look, state=state))
        return replace(following, reason=f"{told}; {following.reason}", ended=step)
    undo = replace(move, rung=Rung.WITHDRAW, start=move.end, end=held)
    reason = f"{told}: back to {str(undo).rpartition(' -> ')[2]}"
    state = replace(state, in_flight=Step(undo, look.now_s, reason))
    return Decision(Rung.WITHDRAW, reason, state, undo, execute=True, ended=step)


def _has_landed(move: Move, observed: Observed) -> bool:
    """Whether every replica came to rest elsewhere than it was."""
    match move.lever:
        case Lever.REPLICAS if move.grows:
            return observed.ready_replicas >= move.end
        case Lever.REPLICAS:
            return observed.ready_replicas <= move.end
        case Lever.CLASSES:
            at_end = observed.share_of(move.slo_class) == move.end
            return bool(observed.tiers) and at_end and not observed.classes_pending
    held = observed.tiers.get(Tier(move.lever))
    return held is not None and not held.pending and held.desired_bytes != move.start


def _held(look: Look, move: Move) -> float:
    """How far ``move`` came, in every replica; its start where that cannot be told."""
    low, high = sorted((move.start, move.end))
    if move.lever is Lever.REPLICAS:
        return min(max(look.observed.ready_replicas, low), high)
    held = None if move.tier is None else look.observed.tiers.get(move.tier)
    if held is None or move.tier is None:
        return move.start
    came_to = held.allocated_bytes if move.grows else held.most_allocated_bytes
    whole = look.within(move.tier, came_to)
    return move.start if whole is None else min(max(whole, low), high)


def _refusal(move: Move, observed: Observed) -> Refusal | None:
    """What Kubernetes says against ``move``: only more DRAM needs a larger pod."""
    return observed.refusal if move.lever is Lever.DRAM and move.grows else None


def _is_hopeless(move: Move, observed: Observed) -> bool:
    refusal = _refusal(move, observed)
    return refusal is not None and refusal.kind is RefusalKind.INFEASIBLE


def _never_lands(tier: Tier, observed: Observed) -> bool:
    """A replica that cannot be brought to the wish must not hold up the others for ever."""
    refusal = observed.refusal
    return tier is Tier.DRAM and refusal is not None and refusal.kind is RefusalKind.INFEASIBLE


def _lost_step(look: Look, tier: Tier, since_s: float) -> Step | None:
    """A wish that no replica comes up to, with no step in flight: one of an earlier operator, or of
    processes that have restarted since."""
    held, lever = look.observed.tiers[tier], LEVER[tier]
    if look.rules.plan_only or tier not in look.rules.tiers or lever in look.state.resting:
        return None
    if held.most_allocated_bytes >= held.desired_bytes or look.state.settled_s == look.now_s:
        return None  # one step ends at a time
    move = Move(GROW[tier], lever, held.most_allocated_bytes, held.desired_bytes)
    return Step(move, since_s, "what was wished for earlier")


def _say_refusal(move: Move, observed: Observed) -> str:
    refusal = _refusal(move, observed)
    return "" if refusal is None else f", pod resize {refusal}"


def _rest_s(rules: Rules, lever: Lever) -> float:
    return max(REST_TIMEOUTS * rules.timeout_s, rules.time_to_land_s(lever))
