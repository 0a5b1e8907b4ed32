"""What of the copy kernel needs no GPU: its table of units, and that it builds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.cuda.segment_kernel import (
    KernelError,
    KernelShape,
    compile_kernel,
    unit_table,
)
from superinfer_runtime.duplexkv.planner import KvLayout

MAX_SHARED_BYTES = 227 * 1024
"""Shared memory that a thread block can have on Hopper (CUDA C++ programming guide)."""


@given(
    st.lists(st.integers(1, 40).map(lambda n: 16 * n), min_size=1, max_size=4),
    st.integers(1, 8).map(lambda n: 16 * n),
)
def test_units_tile_a_block_in_both_memories(sizes: list[int], stage_bytes: int) -> None:
    layout = KvLayout(tuple(sizes))
    regions = np.array([10_000 * (n + 1) for n in range(len(sizes))], np.uint64)

    table = unit_table(regions, layout, stage_bytes)

    assert all(0 < size <= stage_bytes for size in table[:, 3].tolist())
    assert all(size % 16 == 0 for size in table[:, 3].tolist())
    slot_bytes = [b for _, _, start, n in table.tolist() for b in range(start, start + n)]
    assert slot_bytes == list(range(layout.block_bytes))
    hbm_bytes = {b for start, _, _, n in table.tolist() for b in range(start, start + n)}
    assert hbm_bytes == {
        int(region) + byte
        for region, size in zip(regions, sizes, strict=True)
        for byte in range(size)
    }


def test_it_builds_for_hopper_and_fits_its_shared_memory() -> None:
    shape = KernelShape()
    assert shape.shared_bytes < MAX_SHARED_BYTES
    assert compile_kernel("sm_90", shape, out=True) != compile_kernel("sm_90", shape, out=False)


def test_a_gpu_that_it_cannot_be_built_for_is_an_error() -> None:
    with pytest.raises(KernelError, match="NVRTC"):
        compile_kernel("sm_75", KernelShape(), out=True)
