"""Transfer planning: from blocks and slots to the fewest contiguous segments of memory.

KV in HBM is one or more *regions* (one a layer; a single one where the runner keeps all layers of a
block together). In each region block b occupies ``segment_bytes`` at ``b x segment_bytes``. A slot
holds one block, its segments one after the other: so whole slots are contiguous, whatever the
layout in HBM. Segments that are neighbours on both sides merge, but never across two pieces of
pinned memory, even where their addresses meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from superinfer_runtime.duplexkv.jobs import Copy

Addresses = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class KvLayout:
    """Sizes of one worker's KV: the bytes of one block in each region."""

    segment_bytes: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        """One block over all regions; also the size of a DRAM slot."""
        return sum(self.segment_bytes)

    @property
    def slot_offsets(self) -> tuple[int, ...]:
        """Where each region's segment starts in a slot."""
        return tuple(accumulate(self.segment_bytes[:-1], initial=0))


@dataclass(frozen=True, slots=True)
class Moves:
    """Blocks to move, by rising slot number."""

    blocks: Addresses
    slots: Addresses
    """Addresses."""
    piece_starts: npt.NDArray[np.bool_]
    """The slot is the first of a piece of pinned memory, which no copy may span."""

    def __len__(self) -> int:
        return len(self.blocks)


@dataclass(frozen=True, slots=True)
class Segments:
    """Pieces of memory to copy: where they are on both sides, and their bytes."""

    hbm: Addresses
    slot: Addresses
    sizes: Addresses
    first_piece: npt.NDArray[np.intp]
    """Number of the first piece that was merged into each."""

    def part(self, start: int, end: int) -> "Segments":
        """Return segments ``start`` to ``end``."""
        span = slice(start, end)
        return Segments(self.hbm[span], self.slot[span], self.sizes[span], self.first_piece[span])

    @property
    def num_bytes(self) -> int:
        return int(self.sizes.sum())


def locate(
    copies: Sequence[Copy],
    slabs: Mapping[int, int],
    slots_per_slab: int,
    block_bytes: int,
    piece_slots: int | None = None,
) -> Moves:
    """Return where the slots of ``copies`` are.

    Args:
        copies: blocks and slots.
        slabs: address of each slab.
        slots_per_slab: slots in a slab.
        block_bytes: size of a slot.
        piece_slots: slots in a piece of pinned memory; default: a whole slab is one.

    Raises:
        KeyError: a slab is not there.
    """
    ordered = sorted(copies, key=_by_slot)
    slots = np.array([copy.slot for copy in ordered], np.uint64)
    numbers = slots // np.uint64(slots_per_slab)
    offsets = slots % np.uint64(slots_per_slab)
    addresses = np.array([slabs[number] for number in numbers.tolist()], np.uint64)
    return Moves(
        blocks=np.array([copy.block for copy in ordered], np.uint64),
        slots=addresses + offsets * np.uint64(block_bytes),
        piece_starts=offsets % np.uint64(piece_slots or slots_per_slab) == 0,
    )


def block_segments(moves: Moves, regions: Addresses, layout: KvLayout) -> Segments:
    """Return the segments of whole blocks, neighbours merged.

    Args:
        moves: N blocks and slots.
        regions: R addresses of block 0.
        layout: sizes of the R regions.
    """
    sizes = np.array(layout.segment_bytes, np.uint64)
    offsets = np.array(layout.slot_offsets, np.uint64)
    hbm = regions[None, :] + moves.blocks[:, None] * sizes[None, :]
    slot = moves.slots[:, None] + offsets[None, :]
    starts = np.zeros(hbm.shape, bool)
    starts[:, 0] = moves.piece_starts
    return merged(
        hbm.ravel(), slot.ravel(), np.broadcast_to(sizes, hbm.shape).ravel(), starts.ravel()
    )


def merged(hbm: Addresses, slot: Addresses, sizes: Addresses, starts: Any) -> Segments:
    """Merge a piece into the one before where both sides continue and no pinned piece starts."""
    if not len(hbm):
        return Segments(hbm, slot, sizes, np.zeros(0, np.intp))
    ends_hbm, ends_slot = hbm + sizes, slot + sizes
    first = np.ones(len(hbm), bool)
    first[1:] = (hbm[1:] != ends_hbm[:-1]) | (slot[1:] != ends_slot[:-1]) | starts[1:]
    (heads,) = np.nonzero(first)
    return Segments(hbm[heads], slot[heads], np.add.reduceat(sizes, heads), heads)


def _by_slot(copy: Copy) -> int:
    return copy.slot
