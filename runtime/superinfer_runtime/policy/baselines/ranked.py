"""Preemptive scheduling by rank: HBM belongs to those with the smallest rank that fit into it.

A rank is all that tells earliest deadline first, shortest remaining job first and multi-level
feedback queues apart. A running request that does not belong to the best leaves once one that does
needs its room, but not before it has run for a quantum, or the two would chase each other out.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.rotasched import Decision, Iteration

Rank = Callable[[Candidate, float], Any]
"""(request, now) -> comparable; the smallest is served first."""

PROMOTE_AFTER_S = 10.0
"""A feedback queue lifts whoever got nothing for so long to the top."""


def deadline(candidate: Candidate, now_s: float) -> float:
    """Earliest deadline first: when the next token is due."""
    if candidate.first_token_s is None:
        return candidate.arrival_s + candidate.targets.ttft_s
    return candidate.first_token_s + candidate.num_tokens * candidate.targets.tbt_s


def remaining_tokens(output_tokens: Mapping[str, int]) -> Rank:
    """Shortest remaining job first, by an oracle: the output length of each request."""

    def rank(candidate: Candidate, now_s: float) -> tuple[int, float]:
        return output_tokens[candidate.request_id] - candidate.num_tokens, candidate.arrival_s

    return rank


def feedback_level(candidate: Candidate, now_s: float) -> tuple[int, float]:
    """Multi-level feedback queue as in FastServe (NSDI'26): a level each doubling of the KV.

    A request joins at the level of its prompt and sinks as its answer grows.
    """
    since_s = candidate.last_token_s if candidate.num_tokens else candidate.arrival_s
    if now_s - max(since_s, candidate.run_start_s) > PROMOTE_AFTER_S:
        return 0, candidate.arrival_s
    return 1 + int(math.log2(max(candidate.blocks, 1))), candidate.arrival_s


@dataclass(frozen=True, slots=True)
class Ranked:
    """See the module's text."""

    rank: Rank
    run_quantum_s: float

    def __call__(self, iteration: Iteration) -> Decision:
        """Return the admissions and rotations of one iteration."""
        now_s = iteration.now_s
        available = iteration.free_blocks - iteration.growth_blocks
        num_outside = len(iteration.waiting) + len(iteration.rotary)
        running_ids = set(map(id, iteration.running))
        best = self._best(iteration, available)
        best_ids = set(map(id, best))
        entering = [candidate for candidate in best if id(candidate) not in running_ids]
        claimed = sum(candidate.blocks for candidate in entering)
        shortfall = claimed - max(available, 0) - iteration.arriving_blocks
        growth_short = -available - iteration.arriving_blocks
        victims: list[Candidate] = []
        stalled = False
        dram_left = iteration.free_dram_blocks
        for candidate in sorted(iteration.running, key=lambda c: self.rank(c, now_s), reverse=True):
            rested = now_s - candidate.run_start_s >= self.run_quantum_s
            may_leave = rested and id(candidate) not in best_ids and shortfall > 0
            if not candidate.rotatable or not (may_leave or growth_short > 0):
                continue
            if candidate.dram_blocks > dram_left:
                stalled = True
                continue
            victims.append(candidate)
            dram_left -= candidate.dram_blocks
            shortfall -= candidate.blocks
            growth_short -= candidate.blocks
        admitted: list[Candidate] = []
        seats = iteration.free_seats
        for candidate in entering:
            if candidate.blocks > available or seats <= 0:
                break
            admitted.append(candidate)
            available -= candidate.blocks
            seats -= 1
        is_rotary = set(map(id, iteration.rotary))
        return Decision(
            contended=len(admitted) < num_outside or bool(victims),
            admit=[c for c in admitted if id(c) not in is_rotary],
            rotate_in=[c for c in admitted if id(c) in is_rotary],
            rotate_out=victims,
            stalled=stalled,
        )

    def _best(self, iteration: Iteration, available: int) -> list[Candidate]:
        """Those that belong into HBM, best first: running or not, until one does not fit."""
        now_s = iteration.now_s
        room = available + iteration.arriving_blocks + sum(c.blocks for c in iteration.running)
        best: list[Candidate] = []
        everybody = [*iteration.running, *iteration.waiting, *iteration.rotary]
        for candidate in sorted(everybody, key=lambda c: self.rank(c, now_s)):
            if candidate.blocks > room:
                break
            room -= candidate.blocks
            best.append(candidate)
        return best
