"""The CUDA copy engine on a GPU that is played: order, chunks, slabs, calibration; real bytes."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_rig import LAYOUT, NUM_BLOCKS, SHAPES, SLOTS_PER_SLAB, Memory, Rig, moves
from fake_gpu import FakeGpu
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.copy_engine import CopyJob
from superinfer_runtime.duplexkv.cuda.calibration import Calibrated
from superinfer_runtime.duplexkv.cuda.link import CopyPath, Link, LinkShape
from superinfer_runtime.duplexkv.jobs import Copy


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    path=st.sampled_from(CopyPath),
    shape=st.sampled_from(SHAPES),
    jobs=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_copies_out_read_what_the_step_before_wrote(
    seed: int, path: CopyPath, shape: LinkShape, jobs: list[int]
) -> None:
    """Whatever order the GPU runs its streams in, and however jobs share the chunk buffers."""
    rng, memory = random.Random(seed), Memory()
    gpu = FakeGpu(memory.addresses, LAYOUT, rng)
    link = Link(gpu, memory.addresses, LAYOUT, shape, out=True)
    slab = np.zeros((sum(jobs), LAYOUT.block_bytes), np.uint8)
    order = rng.sample(range(sum(jobs)), sum(jobs))
    wanted: dict[int, bytes] = {}
    for size in jobs:
        slots = sorted(order.pop() for _ in range(size))
        blocks = rng.sample(range(NUM_BLOCKS), size)
        for block, slot in zip(blocks, slots, strict=True):
            value = rng.randrange(256)
            # The step writes it; the copy must not read before.
            gpu.compute_step(lambda block=block, value=value: memory.fill(block, value))  # type: ignore[misc]
            wanted[slot] = bytes([value]) * LAYOUT.block_bytes
        link.enqueue(moves(blocks, slots, slab), path, gpu.record(None))
        # As the scheduler does: no later step writes these blocks before the acknowledgement.
        gpu.run()
    assert {slot: slab[slot].tobytes() for slot in wanted} == wanted


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    path=st.sampled_from(CopyPath),
    shape=st.sampled_from(SHAPES),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
)
def test_many_jobs_at_once_bring_back_what_left(
    seed: int, path: CopyPath, shape: LinkShape, sizes: list[int]
) -> None:
    rng, memory = random.Random(seed), Memory()
    gpu = FakeGpu(memory.addresses, LAYOUT, rng)
    slab = np.random.default_rng(seed).integers(
        0, 256, (sum(sizes), LAYOUT.block_bytes), dtype=np.uint8
    )
    link = Link(gpu, memory.addresses, LAYOUT, shape, out=False)
    free = rng.sample(range(NUM_BLOCKS), sum(sizes))
    targets: dict[int, int] = {}
    for size in sizes:
        blocks = [free.pop() for _ in range(size)]
        slots = list(range(len(targets), len(targets) + size))
        link.enqueue(moves(blocks, slots, slab), path, None)
        targets.update(zip(slots, blocks, strict=True))
    gpu.run()
    for slot, block in targets.items():
        assert memory.block(block) == slab[slot].tobytes()


def test_data_comes_back_as_it_left(rig: Rig) -> None:
    rig.have_slabs(0, 1, 2)
    rng = random.Random(3)
    blocks, targets = rng.sample(range(NUM_BLOCKS), 12), rng.sample(range(NUM_BLOCKS), 12)
    slots = rng.sample(range(3 * SLOTS_PER_SLAB), 12)
    before = [rig.memory.block(block) for block in blocks]
    rig.engine.submit(CopyJob(1, True, tuple(map(Copy, blocks, slots))))
    rig.finish(1)
    for block in range(NUM_BLOCKS):
        rig.memory.fill(block, 0xEE)
    rig.engine.submit(CopyJob(2, False, tuple(map(Copy, targets, slots))))
    rig.finish(2)
    assert [rig.memory.block(block) for block in targets] == before
    assert all(result.error is None for result in rig.results.values())
    assert rig.results[1].num_bytes == 12 * LAYOUT.block_bytes
    assert rig.results[1].busy_s > 0


def test_slabs_come_and_go_and_nothing_is_left(rig: Rig) -> None:
    rig.have_slabs(0, 3)
    assert sorted(rig.engine.slabs) == [0, 3]
    rig.engine.drop_slab(0)
    rig.until(lambda: rig.slabs == {3})
    rig.slab_memory.refuse = True
    rig.engine.add_slab(4)
    rig.until(lambda: bool(rig.errors))
    assert "cannot pin" in rig.errors[0]
    assert rig.slabs == {3}
    rig.engine.close()
    assert rig.slab_memory.held == {}


def test_calibration_chooses_reports_once_and_is_used_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.engine.calibrate(NUM_BLOCKS)
    first = rig.engine.poll().calibration
    assert first is not None
    assert first.duplex_bytes_per_s > 0
    assert rig.engine.poll().calibration is None
    assert rig.slab_memory.held == {}, "the slab it measured with is gone"
    rig.engine.close()

    again = Rig(tmp_path)
    again.slab_memory.refuse = True  # measuring would need memory
    again.engine.calibrate(NUM_BLOCKS)
    assert again.engine.poll().calibration == first
    again.engine.close()


def test_a_broken_cache_is_measured_again(tmp_path: Path, rig: Rig) -> None:
    rig.engine.calibrate(NUM_BLOCKS)
    for file in tmp_path.glob("*.json"):
        file.write_text('{"choice": 3}')
    assert rig.calibrator.cached() is None
    rig.engine.calibrate(NUM_BLOCKS)
    assert isinstance(rig.calibrator.cached(), Calibrated)
