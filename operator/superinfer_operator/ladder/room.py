"""What could be given back by what is held at one moment, with room to spare.

The room is what keeps the same load from needing it again.
"""

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.pressure import FULL_BELOW, dram_is_short, missed
from superinfer_operator.ladder.rules import LEVER, Lever, Rules
from superinfer_operator.ladder.view import Observed

ROOM = 1.5  # times what is held: far from FULL_BELOW
RESTORE = 2.0  # times a class's share, a step


def lowerable(rules: Rules, observed: Observed) -> dict[Lever, int]:
    """Return, for each lever that could be lowered by this moment alone, the bytes held of it."""
    found = {
        LEVER[tier]: held.in_use_bytes
        for tier, held in observed.tiers.items()
        if held.in_use_bytes < rules.shrink_below_use * held.allocated_bytes
    }
    if _a_class_fits(rules, observed):
        found[Lever.CLASSES] = observed.tiers[Tier.HBM].in_use_bytes
    if _fewer_replicas_carry_it(rules, observed):
        found[Lever.REPLICAS] = held_bytes(observed)
    return found


def held_bytes(observed: Observed) -> int:
    """The most that a replica holds, in all tiers."""
    return sum(held.in_use_bytes for held in observed.tiers.values())


def budget_bytes(observed: Observed) -> int:
    """The least that a replica may hold, in all tiers."""
    return sum(held.allocated_bytes for held in observed.tiers.values())


def class_to_restore(rules: Rules, observed: Observed) -> tuple[str, float, float] | None:
    """Return the class that was cut most, its share, and the share that comes next."""
    cut = [name for name in rules.weights if observed.share_of(name) < 1]
    if not cut:
        return None
    name = min(cut, key=lambda each: (observed.share_of(each), each))
    share = observed.share_of(name)
    return name, share, min(RESTORE * share, 1.0)


def _a_class_fits(rules: Rules, observed: Observed) -> bool:
    """What the class may then hold fits beside what is held, and only the least weighty is late."""
    hbm, cut = observed.tiers.get(Tier.HBM), class_to_restore(rules, observed)
    if hbm is None or cut is None:
        return False
    least = min(rules.weights.values())
    if any(rules.weights.get(each.slo_class, 0.0) > least for each in missed(rules, observed)):
        return False
    _, share, to_share = cut
    more_bytes = (to_share - share) * hbm.allocated_bytes
    return hbm.in_use_bytes + more_bytes <= (1 - FULL_BELOW) * hbm.allocated_bytes


def _fewer_replicas_carry_it(rules: Rules, observed: Observed) -> bool:
    bounds, wished = rules.replicas, observed.replicas
    if bounds is None or wished is None or wished <= bounds.min_replicas:
        return False
    if observed.absent or observed.silent or missed(rules, observed) or dram_is_short(observed):
        return False
    carried = held_bytes(observed) * max(1.0, observed.ready_replicas / (wished - 1))
    return carried * ROOM <= budget_bytes(observed)
