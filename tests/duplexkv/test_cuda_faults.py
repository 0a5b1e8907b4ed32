"""The CUDA copy engine when things go wrong: refused and stuck copies, no memory, missing slabs.

A job that failed has failed alone: those behind it go on, and what they bring is right.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cuda_rig import LAYOUT, NUM_BLOCKS, SHAPES, SLOTS_PER_SLAB, Memory, Rig, moves
from fake_gpu import Event, FakeGpu
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.copy_engine import CopyJob
from superinfer_runtime.duplexkv.cuda.batch_copy import CopyError
from superinfer_runtime.duplexkv.cuda.link import CopyPath, Link, LinkShape
from superinfer_runtime.duplexkv.cuda.rates import Choice
from superinfer_runtime.duplexkv.jobs import Copy

STAGED = Choice(CopyPath.STAGED, LinkShape(num_sms=1, chunk_bytes=LAYOUT.block_bytes))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    path=st.sampled_from([CopyPath.DIRECT, CopyPath.STAGED]),
    shape=st.sampled_from(SHAPES),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    out=st.booleans(),
)
def test_a_job_refused_half_way_ends_and_harms_none_behind_it(
    seed: int, path: CopyPath, shape: LinkShape, sizes: list[int], out: bool
) -> None:
    """Whatever of it was under way already, and however the GPU orders its streams."""
    rng, memory = random.Random(seed), Memory()
    gpu = FakeGpu(memory.addresses, LAYOUT, rng)
    gpu.refusal_rate = 0.3
    slab = np.random.default_rng(seed).integers(
        0, 256, (sum(sizes), LAYOUT.block_bytes), dtype=np.uint8
    )
    in_slab = [row.tobytes() for row in slab]
    in_hbm = [memory.block(block) for block in range(NUM_BLOCKS)]
    link = Link(gpu, memory.addresses, LAYOUT, shape, out=out)
    free_blocks = rng.sample(range(NUM_BLOCKS), sum(sizes))
    free_slots = rng.sample(range(sum(sizes)), sum(sizes))
    made: dict[int, int] = {}
    failed: list[tuple[list[Event], dict[int, int]]] = []
    for size in sizes:
        slots = sorted(free_slots.pop() for _ in range(size))  # some are neighbours: copies merge
        job = {slot: free_blocks.pop() for slot in slots}
        try:
            link.enqueue(moves(list(job.values()), list(job), slab), path, None)
            made |= job
        except CopyError:
            failed.append((link.give_up(), job))
    handed_on: dict[int, int] = {}
    running = True
    while running:
        running = gpu.step()
        for ends, job in failed:
            if job.keys() <= handed_on.keys() or not all(event.done for event in ends):
                continue
            for slot, block in job.items():
                slab[slot] = 0xEE
                memory.fill(block, 0xEE)
            handed_on |= job
    assert len(handed_on) == sum(len(job) for _, job in failed)
    for slot, block in handed_on.items():
        assert set(slab[slot].tobytes() + memory.block(block)) == {0xEE}, "still written to"
    for slot, block in made.items():
        assert slab[slot].tobytes() == (in_hbm[block] if out else in_slab[slot])
        assert memory.block(block) == (in_hbm[block] if out else in_slab[slot])


def test_without_hbm_for_staging_copies_go_directly(rig: Rig) -> None:
    rig.gpu.no_memory = True
    rig.engine.use(STAGED)
    assert rig.engine.choice == Choice()
    rig.have_slabs(0)
    rig.engine.submit(CopyJob(1, True, (Copy(4, 1), Copy(2, 3))))
    rig.finish(1)
    rig.engine.submit(CopyJob(2, False, (Copy(7, 1), Copy(8, 3))))
    rig.finish(2)
    assert [rig.memory.block(n) for n in (7, 8)] == [rig.memory.block(n) for n in (4, 2)]
    rig.gpu.no_memory = False
    rig.engine.use(STAGED)
    assert rig.engine.choice == STAGED


def test_calibration_without_hbm_for_staging_is_not_kept(rig: Rig) -> None:
    """Next time there may be room; what was measured holds for this start."""
    rig.gpu.no_memory = True
    rig.engine.calibrate(NUM_BLOCKS)
    assert rig.engine.poll().calibration is not None
    assert rig.engine.choice.path is CopyPath.DIRECT
    assert rig.calibrator.cached() is None
    assert rig.slab_memory.held == {}


def test_a_cached_choice_that_hbm_has_no_room_for_falls_back(rig: Rig) -> None:
    rig.engine.calibrate(NUM_BLOCKS)
    cached = rig.calibrator.cached()
    assert cached is not None
    rig.calibrator._save(replace(cached, choice=STAGED))
    rig.gpu.no_memory = True
    rig.engine.calibrate(NUM_BLOCKS)
    assert rig.engine.choice.path is CopyPath.DIRECT


def test_jobs_behind_refused_ones_go_on_and_are_right(rig: Rig) -> None:
    rig.engine.use(STAGED)
    rig.have_slabs(0, 1, 2)
    rig.gpu.refusal_rate = 0.2
    before = [rig.memory.block(block) for block in range(NUM_BLOCKS)]
    jobs = [CopyJob(n, True, tuple(Copy(3 * n + k, 2 * n + k) for k in range(2))) for n in range(7)]
    for job in jobs:
        rig.engine.submit(job)
    rig.finish(*range(7))
    kept = [job for job in jobs if rig.results[job.job_id].error is None]
    assert 0 < len(kept) < len(jobs), "some fail, some do not: else change the rate"
    rig.gpu.refusal_rate = 0.0
    for job in kept:
        for copy in job.copies:
            rig.memory.fill(copy.block, 0xEE)
        rig.engine.submit(CopyJob(100 + job.job_id, False, job.copies))
    rig.finish(*(100 + job.job_id for job in kept))
    for job in kept:
        assert rig.results[100 + job.job_id].error is None
        for copy in job.copies:
            assert rig.memory.block(copy.block) == before[copy.block]


def test_a_refused_copy_fails_its_job_only_and_only_once_its_other_copies_ended(rig: Rig) -> None:
    rig.have_slabs(0)
    rig.gpu.refusal_rate, rig.gpu.frozen = 1.0, True
    rig.engine.submit(CopyJob(1, True, (Copy(0, 0), Copy(1, 1))))
    for _ in range(50):
        rig.poll()
        time.sleep(0.001)
    assert rig.results == {}, "part of the job may still be under way"
    rig.gpu.refusal_rate, rig.gpu.frozen = 0.0, False
    rig.finish(1)
    assert rig.results[1].error is not None
    rig.engine.submit(CopyJob(2, True, (Copy(0, 0),)))
    rig.finish(2)
    assert rig.results[2].error is None


def test_a_job_that_does_not_end_is_told_once_and_still_acknowledged_when_it_does(
    rig: Rig,
) -> None:
    rig.have_slabs(0)
    rig.gpu.frozen = True
    rig.engine.submit(CopyJob(1, True, (Copy(0, 0),)))
    rig.now_s = 4.9
    rig.poll()
    assert rig.stuck == []
    rig.now_s = 5.1
    for _ in range(3):
        rig.poll()
    assert rig.stuck == [1]
    rig.gpu.frozen = False
    rig.finish(1)
    assert rig.results[1].error is None
    assert rig.stuck == [1]


def test_memory_under_a_stuck_copy_is_never_given_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.have_slabs(0)
    rig.gpu.frozen = True
    rig.engine.submit(CopyJob(1, True, (Copy(0, 0),)))
    started_s = time.monotonic()
    rig.engine._clock = lambda: 50 * (time.monotonic() - started_s)  # a fast clock: do not wait
    rig.engine.close()
    assert len(rig.slab_memory.held) == 1


def test_a_missing_slab_is_an_error_and_no_more(rig: Rig) -> None:
    rig.have_slabs(0)
    rig.engine.submit(CopyJob(1, True, (Copy(0, 9 * SLOTS_PER_SLAB),)))
    rig.finish(1)
    assert rig.results[1].error == "slab 9 is not there"
