"""First come, first served, with KV moved to DRAM instead of thrown away.

What vLLM's first engine did when memory ran out (`--preemption-mode swap`): the request that came
last leaves, and nobody new is admitted before everybody who left is back.
"""

from collections.abc import Sequence

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.rotasched import Decision, Iteration


def decide_fcfs_swap(iteration: Iteration) -> Decision:
    """Return the admissions and rotations of one iteration."""
    available = iteration.free_blocks - iteration.growth_blocks
    victims: list[Candidate] = []
    stalled = False
    short = -available - iteration.arriving_blocks
    dram_left = iteration.free_dram_blocks
    for candidate in sorted(iteration.running, key=_arrival_s, reverse=True):
        if short <= 0:
            break
        if not candidate.rotatable:
            continue
        if candidate.dram_blocks > dram_left:
            stalled = True
            continue
        victims.append(candidate)
        short -= candidate.blocks
        dram_left -= candidate.dram_blocks
    back, available = _fitting(iteration.rotary, available, iteration.free_seats)
    if victims or stalled or len(back) < len(iteration.rotary):
        return Decision(True, rotate_in=back, rotate_out=victims, stalled=stalled)
    admitted, _ = _fitting(iteration.waiting, available, iteration.free_seats - len(back))
    return Decision(len(admitted) < len(iteration.waiting), admit=admitted, rotate_in=back)


def _fitting(queue: Sequence[Candidate], available: int, seats: int) -> tuple[list[Candidate], int]:
    """Those that come first and fit, and the blocks left after them."""
    fitting: list[Candidate] = []
    for candidate in sorted(queue, key=_arrival_s):
        if candidate.blocks > available or len(fitting) >= seats:
            break
        fitting.append(candidate)
        available -= candidate.blocks
    return fitting, available


def _arrival_s(candidate: Candidate) -> float:
    return candidate.arrival_s
