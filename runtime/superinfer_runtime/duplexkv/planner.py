"""Transfer planning: from blocks and slots to the fewest contiguous pieces of memory.

KV in HBM is one or more *regions* (one a layer; a single one where the runner keeps all layers of a
block together). In each region block b occupies ``segment_bytes`` at ``b x segment_bytes``. A DRAM
slab repeats the regions one after the other with a segment for each of its slots, so that blocks
and slots that are neighbours on both sides merge into one larger piece: few large copies are what
every copy path is fast at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from superinfer_runtime.duplexkv.jobs import Copy


@dataclass(frozen=True, slots=True)
class KvLayout:
    """Sizes of one worker's KV: the bytes of one block in each region."""

    segment_bytes: tuple[int, ...]

    @property
    def block_bytes(self) -> int:
        """One block over all regions; also the size of a DRAM slot."""
        return sum(self.segment_bytes)


@dataclass(frozen=True, slots=True)
class Piece:
    """``num_bytes`` contiguous bytes on both sides."""

    region: int
    hbm_offset: int
    slab: int
    slab_offset: int
    num_bytes: int


def merge_runs(copies: Iterable[Copy], slots_per_slab: int) -> list[tuple[int, int, int]]:
    """Merge copies into runs (first block, first slot, length) that stay within a slab."""
    runs: list[tuple[int, int, int]] = []
    for copy in sorted(copies, key=lambda c: c.slot):
        if runs:
            block, slot, length = runs[-1]
            if (
                copy.block == block + length
                and copy.slot == slot + length
                and copy.slot % slots_per_slab != 0
            ):
                runs[-1] = (block, slot, length + 1)
                continue
        runs.append((copy.block, copy.slot, 1))
    return runs


def plan_pieces(copies: Sequence[Copy], layout: KvLayout, slots_per_slab: int) -> list[Piece]:
    """Return the pieces of memory that ``copies`` are, in any order; the direction is the job's."""
    runs = merge_runs(copies, slots_per_slab)
    pieces: list[Piece] = []
    region_start = 0
    for region, segment_bytes in enumerate(layout.segment_bytes):
        for block, slot, length in runs:
            slab, offset = divmod(slot, slots_per_slab)
            pieces.append(
                Piece(
                    region=region,
                    hbm_offset=block * segment_bytes,
                    slab=slab,
                    slab_offset=region_start + offset * segment_bytes,
                    num_bytes=length * segment_bytes,
                )
            )
        region_start += segment_bytes * slots_per_slab
    return pieces
