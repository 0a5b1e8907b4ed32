"""Taking a step: what every rung shares, upwards and downwards."""

from dataclasses import dataclass, replace

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.move import Move, Rung, Step
from superinfer_operator.ladder.rules import Lever, Rules
from superinfer_operator.ladder.view import Observed, TierView

REGRET_WITHIN_PATIENCES = 2
MOST_PATIENCE = 16.0
DOWNWARDS = {Rung.REMOVE_REPLICA, Rung.RESTORE_CLASS, Rung.SHRINK_HBM, Rung.SHRINK_DRAM}


@dataclass(frozen=True, slots=True)
class Look:
    """One moment, as every rung sees it."""

    rules: Rules
    observed: Observed
    state: LadderState
    now_s: float

    def hold(self, reason: str) -> Decision:
        return Decision(Rung.HOLD, reason, self.state)

    def patience_s(self, lever: Lever) -> float:
        """How long ``lever`` must have been idle before it is lowered."""
        return self.rules.shrink_after_s * self.state.patience.get(lever, 1.0)

    def rest_of(self, lever: Lever) -> str | None:
        """Say why ``lever`` may not be moved now, if that is so."""
        rest = self.state.resting.get(lever)
        if rest is None:
            return None
        return f"{say_lever(lever)} rests after a step that failed ({rest.message})"

    def within(self, tier: Tier, wished_bytes: int) -> int | None:
        """Return ``wished_bytes`` in whole units within what the spec and the runtimes allow.

        None: they have no whole unit in common, or the tier is not to be moved.
        """
        bounds, held = self.rules.tiers.get(tier), self.observed.tiers.get(tier)
        if bounds is None or held is None:
            return None
        return whole_units(
            wished_bytes,
            max(bounds.min_bytes, held.min_bytes),
            min(bounds.max_bytes, held.max_bytes),
            held,
        )


def whole_units(wished_bytes: int, least_bytes: int, most_bytes: int, held: TierView) -> int | None:
    """Return ``wished_bytes`` in whole units within the bounds; None: there is no such size."""
    unit = max(1, held.step_bytes)
    low, high = -(-least_bytes // unit) * unit, most_bytes // unit * unit
    return min(max(wished_bytes // unit * unit, low), high) if low <= high else None


def say_lever(lever: Lever) -> str:
    """``DRAM``, ``the class share``, ``the number of replicas``."""
    named = {Lever.CLASSES: "the class share", Lever.REPLICAS: "the number of replicas"}
    return named.get(lever, lever.upper())


def take(look: Look, move: Move, why: str) -> Decision:
    """Take ``move`` if the cool-down and the hourly cap allow it."""
    rules, state, now_s = look.rules, look.state, look.now_s
    told = _say(move)
    if state.settled_s is not None and now_s - state.settled_s < rules.cooldown_s:
        rest_s = rules.cooldown_s - (now_s - state.settled_s)
        return look.hold(f"{why}: {told} after a pause of {rest_s:.0f} s")
    if len(state.steps_s) >= rules.max_steps_per_hour:
        cap = f"{len(state.steps_s)} steps were taken within the hour, the most allowed"
        return look.hold(f"{why}: {told} must wait, {cap}")
    reason = f"{why}: {told}"
    if rules.plan_only:
        return Decision(move.rung, reason, state, move)
    state = replace(
        _regretted(look, move),
        in_flight=Step(move, now_s, reason),
        steps_s=(*state.steps_s, now_s),
        idle={},
        rotating_since_s=None,
    )
    return Decision(move.rung, reason, state, move, execute=True)


def _regretted(look: Look, move: Move) -> LadderState:
    """A lever that was lowered and soon needed again is lowered more reluctantly."""
    state, lever = look.state, move.lever
    if move.rung in DOWNWARDS:
        return replace(state, lowered_s={**state.lowered_s, lever: look.now_s})
    lowered_s = state.lowered_s.get(lever)
    if lowered_s is None:
        return state
    soon = look.now_s - lowered_s < REGRET_WITHIN_PATIENCES * look.patience_s(lever)
    patience = min(2 * state.patience.get(lever, 1.0), MOST_PATIENCE) if soon else 1.0
    return replace(
        state,
        lowered_s={each: at_s for each, at_s in state.lowered_s.items() if each is not lever},
        patience={**state.patience, lever: patience},
    )


def _say(move: Move) -> str:
    match move.rung:
        case Rung.SHIFT_HBM if move.donor:
            return f"shift {move} from {move.donor}"
        case Rung.SHIFT_HBM:
            return f"shift {move} from what no service on these GPUs asks for"
        case Rung.SHRINK_CLASS:
            return f"cut {move}"
        case Rung.RESTORE_CLASS:
            return f"restore {move}"
        case _:
            return f"{'grow' if move.grows else 'shrink'} {move}"
