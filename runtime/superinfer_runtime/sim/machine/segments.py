"""How many pieces of memory a job copies after neighbours were merged.

Counts what `duplexkv.planner.block_segments` would return for KV of a single region, without
building it: a simulation asks hundreds of thousands of times. A test compares the two.
"""

from collections.abc import Iterable
from operator import attrgetter

from superinfer_runtime.duplexkv.jobs import Copy

_by_slot = attrgetter("slot")


def count_segments(copies: Iterable[Copy], piece_slots: int, slots_per_slab: int) -> int:
    """Return the number of segments.

    Args:
        copies: blocks and slots; each block is one segment before merging.
        piece_slots: slots in a piece of pinned memory, which no copy spans.
        slots_per_slab: slots in a slab, whose first slot starts a piece.
    """
    segments = 0
    next_block = next_slot = -1
    for copy in sorted(copies, key=_by_slot):
        offset = copy.slot % slots_per_slab
        if copy.block != next_block or copy.slot != next_slot or offset % piece_slots == 0:
            segments += 1
        next_block, next_slot = copy.block + 1, copy.slot + 1
    return segments
