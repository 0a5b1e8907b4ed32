"""Transfer plans, compared with a copy byte by byte."""

from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.duplexkv.planner import KvLayout, Piece, merge_runs, plan_pieces

NUM_BLOCKS = 12
NUM_SLOTS = 12

Bytes = dict[tuple[int, int], tuple[int, int]]


@st.composite
def copies_of(draw: st.DrawFn) -> list[Copy]:
    """Distinct blocks and slots, partly in runs, in any order."""
    blocks = draw(st.permutations(range(NUM_BLOCKS)) | st.just(range(NUM_BLOCKS)))
    slots = draw(st.permutations(range(NUM_SLOTS)) | st.just(range(NUM_SLOTS)))
    kept = draw(st.lists(st.booleans(), min_size=NUM_BLOCKS, max_size=NUM_BLOCKS))
    copies = [Copy(b, s) for b, s, keep in zip(blocks, slots, kept, strict=True) if keep]
    return draw(st.permutations(copies))


def bytes_of_copies(copies: list[Copy], layout: KvLayout, slots_per_slab: int) -> Bytes:
    """(slab, offset) -> (region, offset in HBM) of each byte, straight from the layout's text."""
    moved: Bytes = {}
    for copy in copies:
        slab, index = divmod(copy.slot, slots_per_slab)
        region_start = 0
        for region, segment in enumerate(layout.segment_bytes):
            for byte in range(segment):
                dram = (slab, region_start + index * segment + byte)
                moved[dram] = (region, copy.block * segment + byte)
            region_start += segment * slots_per_slab
    return moved


def bytes_of_pieces(pieces: list[Piece]) -> Bytes:
    moved: Bytes = {}
    for piece in pieces:
        for byte in range(piece.num_bytes):
            dram = (piece.slab, piece.slab_offset + byte)
            assert dram not in moved, "a byte is copied twice"
            moved[dram] = (piece.region, piece.hbm_offset + byte)
    return moved


@given(
    copies=copies_of(),
    segments=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    slots_per_slab=st.integers(1, 5),
)
def test_pieces_are_exactly_the_copied_bytes(
    copies: list[Copy], segments: list[int], slots_per_slab: int
) -> None:
    layout = KvLayout(tuple(segments))
    pieces = plan_pieces(copies, layout, slots_per_slab)
    assert bytes_of_pieces(pieces) == bytes_of_copies(copies, layout, slots_per_slab)
    slab_bytes = layout.block_bytes * slots_per_slab
    assert all(piece.slab_offset + piece.num_bytes <= slab_bytes for piece in pieces)


@given(copies=copies_of(), slots_per_slab=st.integers(1, 5))
def test_runs_are_as_long_as_they_can_be(copies: list[Copy], slots_per_slab: int) -> None:
    runs = merge_runs(copies, slots_per_slab)
    ends = {(block + length, slot + length) for block, slot, length in runs}
    for block, slot, length in runs:
        assert slot // slots_per_slab == (slot + length - 1) // slots_per_slab
        assert (block, slot) not in ends or slot % slots_per_slab == 0, "two runs could be one"
    assert sum(length for _, _, length in runs) == len(copies)


def test_neighbours_merge_on_both_sides_only() -> None:
    assert merge_runs([Copy(5, 1), Copy(4, 0), Copy(6, 2)], 8) == [(4, 0, 3)]
    assert merge_runs([Copy(4, 0), Copy(6, 1)], 8) == [(4, 0, 1), (6, 1, 1)]
    assert merge_runs([Copy(4, 0), Copy(5, 2)], 8) == [(4, 0, 1), (5, 2, 1)]
    assert merge_runs([Copy(4, 1), Copy(5, 2)], 2) == [(4, 1, 1), (5, 2, 1)]
