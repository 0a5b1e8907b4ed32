"""What a service can spare of its HBM for those on the same GPUs, and how it gives.

A donor is well above its objectives, has had its HBM little used for a window, and keeps so much
that it is still little used afterwards.
"""

import math

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import LadderState, noticed
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.pressure import dram_is_short, meets_with_margin
from superinfer_operator.ladder.rules import Lever, Rules
from superinfer_operator.ladder.step import Look, take
from superinfer_operator.ladder.view import Observed


def spare_hbm_bytes(rules: Rules, observed: Observed, state: LadderState, now_s: float) -> int:
    """Return how much HBM the service can give now; 0 when it can give none."""
    look = Look(rules, observed, noticed(rules, observed, state, now_s), now_s)
    move = _move(look)
    if move is None or not take(look, move, "").execute:
        return 0
    return int(move.start - move.end)


def give_hbm(
    rules: Rules, observed: Observed, state: LadderState, to_bytes: int, taker: str, now_s: float
) -> Decision:
    """Return the step by which the service keeps only ``to_bytes``, for ``taker``."""
    look = Look(rules, observed, noticed(rules, observed, state, now_s), now_s)
    start = observed.tiers[Tier.HBM].desired_bytes
    return take(
        look, Move(Rung.SHRINK_HBM, Lever.HBM, start, to_bytes), f"service {taker} needs HBM"
    )


def _move(look: Look) -> Move | None:
    """The most that can be given, as a step."""
    rules, observed, state = look.rules, look.observed, look.state
    held, idle = observed.tiers.get(Tier.HBM), state.idle.get(Lever.HBM)
    age_s = observed.telemetry_age_s
    if held is None or held.pending or idle is None or age_s is None or age_s > rules.stale_s:
        return None
    if state.in_flight is not None or Lever.HBM in state.resting:
        return None
    if look.now_s - idle.since_s < rules.window_s or observed.waiting or dram_is_short(observed):
        return None
    if not meets_with_margin(rules, observed):
        return None
    keep_bytes = math.ceil(idle.peak_bytes / rules.shrink_below_use) + held.step_bytes
    to_bytes = look.within(Tier.HBM, keep_bytes)
    if to_bytes is None or to_bytes >= held.desired_bytes:
        return None
    return Move(Rung.SHRINK_HBM, Lever.HBM, held.desired_bytes, to_bytes)
