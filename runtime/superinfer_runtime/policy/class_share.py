"""Class shares: how much of the HBM budget the requests of one SLO class may hold.

The operator cuts the share of a batch class before it asks for another replica. A cut class admits
no more than fits its share, contention or not; what it holds beyond it (its requests grow, or the
share was cut) is first to be rotated out when others lag. A class that holds nothing may always run
one request, however large, so that a cut never becomes a stop.

With no class cut, an iteration passes unchanged and at no cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.rotasched import Iteration


def within_shares(
    iteration: Iteration, shares: Mapping[str, float], budget_blocks: int
) -> Iteration:
    """Return ``iteration`` without the candidates that their class's share has no room for.

    Args:
        shares: of ``budget_blocks``, by class; classes left out have all of it.
        budget_blocks: HBM budget in force.
    """
    cut = {name: share for name, share in shares.items() if share < 1.0}
    for candidate in iteration.running:
        candidate.over_share = False
    if not cut:
        return iteration
    admitted: set[int] = set()
    for name, share in cut.items():
        running = [c for c in iteration.running if c.slo_class == name]
        held = sum(c.blocks for c in running)
        limit = int(share * budget_blocks)
        if held > limit:
            _mark_excess(running, held - limit)
        queue = [c for c in (*iteration.rotary, *iteration.waiting) if c.slo_class == name]
        admitted.update(map(id, _admitted(queue, limit - held, is_idle=not running)))
    return replace(
        iteration,
        waiting=[c for c in iteration.waiting if c.slo_class not in cut or id(c) in admitted],
        rotary=[c for c in iteration.rotary if c.slo_class not in cut or id(c) in admitted],
    )


def _admitted(queue: Sequence[Candidate], room: int, is_idle: bool) -> list[Candidate]:
    """Those of ``queue`` that fit, rotary ones first; the first that does not fit ends it."""
    admitted: list[Candidate] = []
    for candidate in queue:
        if candidate.blocks > room and not (is_idle and not admitted):
            break
        admitted.append(candidate)
        room -= candidate.blocks
    return admitted


def _mark_excess(running: Sequence[Candidate], excess_blocks: int) -> None:
    """Mark the requests that came last as beyond the share, but never all of them."""
    for candidate in sorted(running, key=lambda each: each.arrival_s, reverse=True)[:-1]:
        if excess_blocks <= 0:
            break
        candidate.over_share = True
        excess_blocks -= candidate.blocks
