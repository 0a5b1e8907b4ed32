"""The scheduler that SuperInfer released: oldest first, and a watermark of free HBM.

Unlike the paper's, it knows no objective: waiting and rotated requests queue up by the time since
when they wait, and whenever less than the budget is free, the requests that have run longest leave
until so much is. Source: `vllm/v1/core/scheduler.py` of the release (commit 790d1fad), read for its
behaviour. Here a request waits since its arrival, or since its last token.
"""

from dataclasses import dataclass

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.rotasched import Decision, Iteration, is_contended

DRAM_FULL = 0.95
"""No rotation beyond this share of DRAM in use."""
DRAM_NEARLY_FULL = 0.90
"""New requests come last beyond it."""
WATERMARK_SHARE = 0.16
"""Of HBM's blocks: the watermark that it was published with, 2,400 blocks, on the machine that it
was published for (Qwen2.5-32B on 144 GB)."""


@dataclass(frozen=True, slots=True)
class OldestFirst:
    """``budget_blocks``: the watermark, which the release asks its user to set."""

    budget_blocks: int
    dram_blocks: int

    @classmethod
    def published(cls, hbm_blocks: int, dram_blocks: int) -> "OldestFirst":
        """With the published watermark, on a machine of this size."""
        return cls(int(hbm_blocks * WATERMARK_SHARE), dram_blocks)

    def __call__(self, iteration: Iteration) -> Decision:
        """Return the admissions and rotations of one iteration."""
        if not is_contended(iteration):
            return Decision(False, admit=list(iteration.waiting), rotate_in=list(iteration.rotary))
        available = iteration.free_blocks - iteration.growth_blocks
        queue = [*iteration.waiting, *iteration.rotary]
        used_share = 1.0 - iteration.free_dram_blocks / max(self.dram_blocks, 1)
        is_rotary = set(map(id, iteration.rotary))
        queue.sort(
            key=lambda c: (used_share > DRAM_NEARLY_FULL and id(c) not in is_rotary, _since_s(c))
        )
        victims, stalled = self._victims(iteration, available, used_share)
        admitted: list[Candidate] = []
        seats = iteration.free_seats
        for candidate in queue:
            if candidate.blocks > available or seats <= 0:
                break
            admitted.append(candidate)
            available -= candidate.blocks
            seats -= 1
        return Decision(
            contended=True,
            admit=[c for c in admitted if id(c) not in is_rotary],
            rotate_in=[c for c in admitted if id(c) in is_rotary],
            rotate_out=victims,
            stalled=stalled,
        )

    def _victims(
        self, iteration: Iteration, available: int, used_share: float
    ) -> tuple[list[Candidate], bool]:
        short = self.budget_blocks - available - iteration.arriving_blocks
        if short <= 0:
            return [], False
        if used_share >= DRAM_FULL:
            return [], True
        victims: list[Candidate] = []
        dram_left = iteration.free_dram_blocks
        for candidate in sorted(iteration.running, key=_run_start_s):
            if short <= 0:
                break
            if candidate.rotatable and candidate.dram_blocks <= dram_left:
                victims.append(candidate)
                short -= candidate.blocks
                dram_left -= candidate.dram_blocks
        return victims, False


def _since_s(candidate: Candidate) -> float:
    return candidate.arrival_s if candidate.first_token_s is None else candidate.last_token_s


def _run_start_s(candidate: Candidate) -> float:
    return candidate.run_start_s
