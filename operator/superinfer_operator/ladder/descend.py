"""The rungs downwards, in reverse order. Each is taken only after long calm, and only if what was
lately held still has room afterwards, so the same load does not climb again.
"""

from superinfer_contract.metrics import Tier
from superinfer_contract.quantity import format_bytes

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import Idle
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.room import ROOM, budget_bytes, class_to_restore
from superinfer_operator.ladder.rules import LEVER, Lever
from superinfer_operator.ladder.step import Look, take


def descend(look: Look) -> Decision | None:
    """Give back one thing that was long not needed, if there is one."""
    return (
        _remove_replica(look)
        or restore_class(look)
        or _shrink(look, Tier.HBM, Rung.SHRINK_HBM)
        or _shrink(look, Tier.DRAM, Rung.SHRINK_DRAM)
    )


def _remove_replica(look: Look) -> Decision | None:
    observed, idle = look.observed, _long_idle(look, Lever.REPLICAS)
    if idle is None or observed.replicas is None or observed.waiting:
        return None
    why = (
        f"each replica held at most {format_bytes(idle.peak_bytes)} of "
        f"{format_bytes(budget_bytes(observed))} for {look.now_s - idle.since_s:.0f} s"
    )
    fewer = observed.replicas - 1
    return take(look, Move(Rung.REMOVE_REPLICA, Lever.REPLICAS, observed.replicas, fewer), why)


def restore_class(look: Look) -> Decision | None:
    """Give a class back what was cut, also while it alone is late: that may be the reason."""
    observed, idle = look.observed, _long_idle(look, Lever.CLASSES)
    cut = class_to_restore(look.rules, observed)
    if idle is None or cut is None or observed.classes_pending:
        return None
    name, share, to_share = cut
    why = (
        f"HBM held at most {format_bytes(idle.peak_bytes)} of "
        f"{format_bytes(observed.tiers[Tier.HBM].allocated_bytes)} "
        f"for {look.now_s - idle.since_s:.0f} s"
    )
    return take(look, Move(Rung.RESTORE_CLASS, Lever.CLASSES, share, to_share, name), why)


def _shrink(look: Look, tier: Tier, rung: Rung) -> Decision | None:
    bounds, held = look.rules.tiers.get(tier), look.observed.tiers.get(tier)
    idle = _long_idle(look, LEVER[tier])
    if bounds is None or held is None or idle is None:
        return None
    keep_bytes = int(idle.peak_bytes * ROOM) + held.step_bytes
    to_bytes = look.within(tier, max(held.desired_bytes - bounds.step_bytes, keep_bytes))
    if to_bytes is None or to_bytes >= held.desired_bytes:
        return None
    why = (
        f"{tier.upper()} held at most {format_bytes(idle.peak_bytes)} of "
        f"{format_bytes(held.desired_bytes)} for {look.now_s - idle.since_s:.0f} s"
    )
    return take(look, Move(rung, LEVER[tier], held.desired_bytes, to_bytes), why)


def _long_idle(look: Look, lever: Lever) -> Idle | None:
    """Return since when ``lever`` could be lowered, if that is long enough and it does not rest."""
    idle = look.state.idle.get(lever)
    if idle is None or lever in look.state.resting:
        return None
    return idle if look.now_s - idle.since_s >= look.patience_s(lever) else None
