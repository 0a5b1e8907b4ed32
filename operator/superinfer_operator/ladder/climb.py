"""The rungs upwards, in order. Each answers with a move, or says why it is passed over.

Rotating is for the scheduler to do: with room in DRAM it gets a window's time to help.
"""

from collections.abc import Callable
from dataclasses import replace

from superinfer_contract.metrics import Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.pressure import (
    dram_is_short,
    is_full,
    missed,
    say_dram_need,
    say_headroom,
    say_missed,
)
from superinfer_operator.ladder.rules import LEVER, Lever
from superinfer_operator.ladder.step import Look, take
from superinfer_operator.ladder.view import Observed

CUT = 0.5  # what is left of a class's share, a step

RungUp = Callable[[Look], Move | str]


def climb(look: Look) -> Decision:
    """Take the lowest rung that may help."""
    rules, observed = look.rules, look.observed
    late = missed(rules, observed)
    need = say_missed(rules, late[0]) if late else say_dram_need(rules, observed)
    rungs: tuple[RungUp, ...] = (_more_hbm, _shrink_class, _add_replica)
    state = replace(look.state, rotating_since_s=None)
    why_not: list[str] = []
    if _rotation_is_possible(observed):
        why_not = [say_headroom(observed, Tier.DRAM)]
    if _rotation_is_possible(observed) and not _dram_is_used_up(observed):
        since_s = look.state.rotating_since_s
        since_s = look.now_s if since_s is None else since_s
        state = replace(look.state, rotating_since_s=since_s)
        if look.now_s - since_s < rules.window_s:
            why = f"{need}; {why_not[0]}: rotation has room to help"
            return Decision(Rung.ROTATE_MORE, why, state)
    else:
        rungs = (_grow_dram, *rungs)
    look = replace(look, state=state)
    for rung in rungs:
        answer = rung(look)
        if isinstance(answer, Move):
            return take(look, answer, "; ".join([need, *why_not]))
        if answer:
            why_not.append(answer)
    return Decision(Rung.EXHAUSTED, f"{need}; {'; '.join(why_not)}: no rung left", look.state)


def _rotation_is_possible(observed: Observed) -> bool:
    return observed.rotation_off_reason is None and Tier.DRAM in observed.tiers


def _dram_is_used_up(observed: Observed) -> bool:
    return dram_is_short(observed) or is_full(observed, Tier.DRAM)


def _grow_dram(look: Look) -> Move | str:
    if look.observed.rotation_off_reason is not None:
        return f"rotation is off ({look.observed.rotation_off_reason})"
    if Tier.DRAM not in look.observed.tiers:
        return "no DRAM tier"
    return _grow(look, Tier.DRAM, Rung.GROW_DRAM)


def _more_hbm(look: Look) -> Move | str:
    observed = look.observed
    if not (is_full(observed, Tier.HBM) or observed.waiting or observed.rotary):
        return "no request lacks HBM"
    if not look.rules.shares_gpus:
        return _grow(look, Tier.HBM, Rung.GROW_HBM)
    near = observed.neighbourhood
    donor = max(near.donors, key=lambda each: (each.spare_bytes, each.name), default=None)
    if near.free_bytes > 0:
        free = _grow(look, Tier.HBM, Rung.SHIFT_HBM, near.free_bytes)
        if isinstance(free, Move) or donor is None:
            return free
    if donor is None or donor.spare_bytes <= 0:
        return "no service on the same GPUs can spare HBM"
    return _grow(look, Tier.HBM, Rung.SHIFT_HBM, donor.spare_bytes, donor.name)


def _grow(
    look: Look, tier: Tier, rung: Rung, most_bytes: int | None = None, donor: str = ""
) -> Move | str:
    """Grow ``tier`` by a step, but by no more than ``most_bytes``."""
    name = tier.upper()
    bounds, held = look.rules.tiers.get(tier), look.observed.tiers.get(tier)
    if bounds is None or held is None:
        return f"{name} has no bounds in the spec"
    resting = look.rest_of(LEVER[tier])
    if resting is not None:
        return resting
    if held.pending:
        return f"{name} is not yet what was wished for in every replica"
    step_bytes = bounds.step_bytes if most_bytes is None else min(bounds.step_bytes, most_bytes)
    to_bytes = look.within(tier, held.desired_bytes + step_bytes)
    if to_bytes is None or to_bytes <= held.desired_bytes:
        return f"{name} cannot grow beyond {format_bytes(held.desired_bytes)}"
    if most_bytes is not None and to_bytes - held.desired_bytes > most_bytes:
        return f"{format_bytes(most_bytes)} of {name} are less than the least step"
    return Move(rung, LEVER[tier], held.desired_bytes, to_bytes, donor=donor)


def _shrink_class(look: Look) -> Move | str:
    """Cut the class with the least weight in favour of one with more."""
    rules, observed = look.rules, look.observed
    if len(set(rules.weights.values())) < 2 or rules.min_class_share >= 1:
        return ""
    least = min(rules.weights.values())
    if all(rules.weights.get(each.slo_class, least) <= least for each in missed(rules, observed)):
        return "no class of more weight than the least misses its objectives"
    resting = look.rest_of(Lever.CLASSES)
    if resting is not None:
        return resting
    if observed.classes_pending:
        return "class shares are not yet what was wished for in every replica"
    lightest = [name for name, weight in rules.weights.items() if weight == least]
    name = max(lightest, key=lambda each: (observed.share_of(each), each))
    share = observed.share_of(name)
    to_share = max(CUT * share, rules.min_class_share)
    if to_share >= share:
        return f"class {name} is down to {share * 100:g} % of HBM"
    return Move(Rung.SHRINK_CLASS, Lever.CLASSES, share, to_share, slo_class=name)


def _add_replica(look: Look) -> Move | str:
    """One more replica, when objectives are missed and all those asked for are there."""
    bounds, observed = look.rules.replicas, look.observed
    if bounds is None or observed.replicas is None:
        return ""
    if not missed(look.rules, observed):
        return "no class misses its objectives, so no replica is added"
    resting = look.rest_of(Lever.REPLICAS)
    if resting is not None:
        return resting
    if observed.ready_replicas < observed.replicas:
        return f"{observed.ready_replicas} of {observed.replicas} replicas are ready"
    if observed.replicas >= bounds.max_replicas:
        return f"there are {observed.replicas} replicas, the most allowed"
    return Move(Rung.ADD_REPLICA, Lever.REPLICAS, observed.replicas, observed.replicas + 1)
