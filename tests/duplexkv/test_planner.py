"""Planned segments say the same as the blocks and slots they came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.duplexkv.planner import KvLayout, block_segments, locate

SLOTS_PER_SLAB = 4
SLABS = {number: 10_000 * (7 - number) for number in range(6)}
"""Slabs lie anywhere: here each below the one before it."""


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Copy], KvLayout]:
    count = draw(st.integers(0, 12))
    numbers = st.integers(0, 20)
    blocks = draw(st.lists(numbers, min_size=count, max_size=count, unique=True))
    slots = draw(st.lists(numbers, min_size=count, max_size=count, unique=True))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    return list(map(Copy, blocks, slots)), KvLayout(tuple(sizes))


@given(plans())
def test_segments_cover_each_byte_of_each_block_once(plan: tuple[list[Copy], KvLayout]) -> None:
    copies, layout = plan
    regions = [1000 * (number + 1) for number in range(len(layout.segment_bytes))]

    moves = locate(copies, SLABS, SLOTS_PER_SLAB, layout.block_bytes)
    found = block_segments(moves, np.array(regions, np.uint64), layout)

    wanted = {
        (
            region + copy.block * size + byte,
            SLABS[copy.slot // SLOTS_PER_SLAB]
            + copy.slot % SLOTS_PER_SLAB * layout.block_bytes
            + offset
            + byte,
        )
        for copy in copies
        for region, size, offset in zip(
            regions, layout.segment_bytes, layout.slot_offsets, strict=True
        )
        for byte in range(size)
    }
    pairs = [
        (hbm + byte, slot + byte)
        for hbm, slot, size in zip(
            found.hbm.tolist(), found.slot.tolist(), found.sizes.tolist(), strict=True
        )
        for byte in range(size)
    ]
    assert len(pairs) == len(wanted)
    assert set(pairs) == wanted
    assert found.num_bytes == len(pairs)


@pytest.mark.parametrize(("piece_slots", "sizes"), [(None, [64, 64]), (2, [32] * 4)])
def test_neighbours_merge_within_a_piece_of_pinned_memory_only(
    piece_slots: int | None, sizes: list[int]
) -> None:
    slabs = {0: 4096, 1: 4096 + SLOTS_PER_SLAB * 16}  # their addresses meet
    copies = [Copy(n, n) for n in reversed(range(8))]
    moves = locate(copies, slabs, SLOTS_PER_SLAB, 16, piece_slots)
    found = block_segments(moves, np.array([0], np.uint64), KvLayout((16,)))
    assert found.sizes.tolist() == sizes
    assert found.first_piece.tolist() == [sum(sizes[:n]) // 16 for n in range(len(sizes))]


def test_a_slab_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        locate([Copy(0, 99)], SLABS, SLOTS_PER_SLAB, 16)
