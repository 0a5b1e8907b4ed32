"""What relegated requests may claim while others can still be good: a tenth of HBM, oldest first.

Who is relegated (`policy/lag`) takes what is left over, and ages until it claims HBM ahead of
requests that can be in time. Under an overload that lasts longer than that, everybody who waits has
aged: without a bound they hold all of HBM, whoever comes is late before its turn, and nobody is in
time ever again. So aged requests claim within a share: there they run to their end, in order of
arrival; beyond it they stay relegated. The rest of HBM serves those who can be in time.

Simulated (docs/concepts/policy-search.md): of shares of 0.1 and 0.25 the smaller kept more promises
at about the same tokens a second.
"""

from collections.abc import Sequence

from superinfer_runtime.policy.candidate import Candidate

SHARE_OF_HBM = 0.1


def relegated_room_blocks(free_blocks: int, running: Sequence[Candidate]) -> int:
    """Blocks of HBM that relegated requests may hold; for one request there always is room."""
    hbm_blocks = max(free_blocks, 0) + sum(candidate.blocks for candidate in running)
    return max(int(SHARE_OF_HBM * hbm_blocks), 1)


def within_room(
    candidates: Sequence[Candidate], room_blocks: int
) -> tuple[list[Candidate], list[Candidate]]:
    """The first ones, until the room is taken (by the last of them beyond it), and the others."""
    for number, candidate in enumerate(candidates):
        if room_blocks <= 0:
            return list(candidates[:number]), list(candidates[number:])
        room_blocks -= candidate.blocks
    return list(candidates), []
