"""Where each block of one request's KV is, and how it moves.

    HBM_ONLY --mirror--> MIRRORING --ack--> SYNCED --rotate out--> DRAM_ONLY
       |                     |                                        |   ^
       +-----rotate out------+-------> ROTATING_OUT --ack-------------+---+
                                       DRAM_ONLY --rotate in--> ROTATING_IN --ack--> SYNCED

Full blocks never change, so their mirror stays good: rotating out moves only what is not mirrored
(the tail), and after a rotation in the DRAM copy of full blocks is kept.
"""

from dataclasses import dataclass, field
from enum import Enum, auto


class BlockState(Enum):
    """Where one block of one request's KV is."""

    HBM_ONLY = auto()
    MIRRORING = auto()
    SYNCED = auto()
    ROTATING_OUT = auto()
    DRAM_ONLY = auto()
    ROTATING_IN = auto()


COPYING = frozenset({BlockState.MIRRORING, BlockState.ROTATING_OUT, BlockState.ROTATING_IN})


@dataclass(slots=True)
class RequestBlocks:
    """The blocks of one request, in order."""

    states: list[BlockState] = field(default_factory=list)
    slots: list[int | None] = field(default_factory=list)
    num_full: int = 0
    """Rotated out: leading blocks that were full, and so stay good in DRAM."""
    pending: int = 0
    """Copies of a rotation that are not acknowledged."""
    num_slots: int = 0
    """Blocks that have a slot."""
    mirror_cursor: int = 0
    """No block before this one is HBM_ONLY: `start_mirror` need not look at them again."""

    def extend_to(self, num_blocks: int) -> None:
        missing = num_blocks - len(self.states)
        if missing > 0:
            self.states.extend([BlockState.HBM_ONLY] * missing)
            self.slots.extend([None] * missing)
