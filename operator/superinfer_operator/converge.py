"""How one replica is brought to the service's wish, level-triggered: no phase is remembered.

The pod is made larger before its budget grows, and smaller only after its budget has come down:

* the pod's limit is to hold the largest of what is wished for, desired and allocated;
* a budget is raised only when the limit in force holds it, whatever the kubelet does next;
* HBM is raised only as far as the neighbours on the same GPUs have left it.

So at every moment the limit in force holds what is allocated, and neighbours never overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass

from superinfer_contract.kv_budget import KvBudget, KvBudgetPatch, TierState

from superinfer_operator.replica import PodMemory
from superinfer_operator.wish import Wish

LimitFor = Callable[[int], int]
"""The pod's memory limit for a DRAM budget."""

SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done with a replica now; nothing: it is at the wish, or must wait."""

    limit_bytes: int | None = None
    patch: KvBudgetPatch | None = None


def settled_bytes(wished_bytes: int, held: TierState) -> int:
    """Return what a runtime makes of ``wished_bytes``: whole units within its bounds."""
    within = min(max(wished_bytes, held.min_bytes), held.max_bytes)
    return max(within - within % max(1, held.step_bytes), held.min_bytes)


def shares_agree(wish: Wish, budget: KvBudget) -> bool:
    """Whether the runtime's class shares are those wished for."""
    return all(
        abs(budget.class_shares.get(name, 1.0) - share) < SHARE_TOLERANCE
        for name, share in _shares(wish, budget).items()
    )


def next_actions(
    wish: Wish,
    budget: KvBudget,
    memory: PodMemory | None = None,
    limit_for: LimitFor | None = None,
    hbm_cap_bytes: int | None = None,
) -> Next:
    """Return the next actions for one replica.

    ``limit_for`` None: the pod holds all that its budget may ever be, and keeps its size; with it,
    ``memory`` None means that the pod's size is not known, so DRAM is not raised.
    ``hbm_cap_bytes`` None: HBM is shared with nobody.
    """
    dram_bytes = _dram_patch(wish, budget.dram, memory, limit_for)
    hbm_bytes = _hbm_patch(wish, budget.hbm, hbm_cap_bytes)
    shares = None if shares_agree(wish, budget) else _shares(wish, budget)
    patch = None
    if (hbm_bytes, dram_bytes, shares) != (None, None, None):
        patch = KvBudgetPatch(hbm_bytes=hbm_bytes, dram_bytes=dram_bytes, class_shares=shares)
    return Next(_limit(wish, budget.dram, memory, limit_for), patch)


def _limit(
    wish: Wish, dram: TierState, memory: PodMemory | None, limit_for: LimitFor | None
) -> int | None:
    if memory is None or limit_for is None or wish.dram_bytes is None:
        return None
    wished_bytes = settled_bytes(wish.dram_bytes, dram)
    needed = limit_for(max(wished_bytes, dram.desired_bytes, dram.allocated_bytes))
    return None if needed == memory.limit_bytes else needed


def _dram_patch(
    wish: Wish, dram: TierState, memory: PodMemory | None, limit_for: LimitFor | None
) -> int | None:
    if wish.dram_bytes is None:
        return None
    wished_bytes = settled_bytes(wish.dram_bytes, dram)
    if wished_bytes == dram.desired_bytes:
        return None
    if limit_for is not None and wished_bytes > dram.desired_bytes:
        safe_bytes = 0 if memory is None else memory.safe_bytes
        return wished_bytes if limit_for(wished_bytes) <= safe_bytes else None
    return wished_bytes


def _hbm_patch(wish: Wish, hbm: TierState, cap_bytes: int | None) -> int | None:
    if wish.hbm_bytes is None:
        return None
    wished_bytes = wish.hbm_bytes
    if cap_bytes is not None and wished_bytes > cap_bytes:
        wished_bytes = max(cap_bytes, min(wished_bytes, hbm.desired_bytes))
    to_bytes = settled_bytes(wished_bytes, hbm)
    return None if to_bytes == hbm.desired_bytes else to_bytes


def _shares(wish: Wish, budget: KvBudget) -> dict[str, float]:
    """The share of every class that the runtime names; by name, so that one is also restored."""
    names = budget.class_shares.keys() or wish.class_shares.keys()
    return {name: wish.class_shares.get(name, 1.0) for name in sorted(names)}
