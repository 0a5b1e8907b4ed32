"""The CPU copy engine on real memory."""

import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from superinfer_runtime.duplexkv.copy_engine import CopyJob, CopyResult, EngineReport
from superinfer_runtime.duplexkv.cpu_engine import CpuCopyEngine, HbmRegion
from superinfer_runtime.duplexkv.jobs import Copy

NUM_BLOCKS = 32
SEGMENTS = (1024, 96, 4096)
SLOTS_PER_SLAB = 5
DEADLINE_S = 10.0


class Rig:
    """An engine over three regions of random bytes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.hbm = [
            rng.integers(0, 256, (NUM_BLOCKS, segment), dtype=np.uint8) for segment in SEGMENTS
        ]
        self.engine = CpuCopyEngine(
            [HbmRegion(region.ctypes.data, region.shape[1]) for region in self.hbm],
            SLOTS_PER_SLAB,
        )
        self.results: dict[int, CopyResult] = {}
        self.slabs: set[int] = set()

    def poll(self) -> EngineReport:
        report = self.engine.poll()
        self.results.update((result.job_id, result) for result in report.results)
        self.slabs |= set(report.slabs_ready)
        self.slabs -= set(report.slabs_gone)
        return report

    def finish(self, *job_ids: int) -> None:
        self._wait(lambda: self.results.keys() >= set(job_ids))

    def have_slabs(self, *slabs: int) -> None:
        self._wait(lambda: self.slabs == set(slabs))

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline_s, "the engine never reported"
            self.poll()
            time.sleep(0.0005)

    def block(self, number: int) -> bytes:
        return b"".join(region[number].tobytes() for region in self.hbm)

    def erase(self) -> None:
        for region in self.hbm:
            region.fill(0xEE)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.engine.close()


def test_data_comes_back_as_it_left(rig: Rig) -> None:
    rng = random.Random(3)
    slots = rng.sample(range(4 * SLOTS_PER_SLAB), 16)
    blocks = rng.sample(range(NUM_BLOCKS), 16)
    targets = rng.sample(range(NUM_BLOCKS), 16)
    before = [rig.block(block) for block in blocks]
    for slab in range(4):
        rig.engine.add_slab(slab)
    rig.have_slabs(0, 1, 2, 3)
    rig.engine.submit(CopyJob(1, True, tuple(map(Copy, blocks, slots))))
    rig.finish(1)
    rig.erase()
    rig.engine.submit(CopyJob(2, False, tuple(map(Copy, targets, slots))))
    rig.finish(2)
    assert [rig.block(block) for block in targets] == before
    untouched = set(range(NUM_BLOCKS)) - set(targets)
    assert all(set(rig.block(block)) == {0xEE} for block in untouched)
    for job_id in (1, 2):
        result = rig.results[job_id]
        assert result.error is None
        assert result.num_bytes == 16 * sum(SEGMENTS)
        assert result.busy_s > 0
        assert result.out is (job_id == 1)


def test_out_and_in_run_at_once(rig: Rig) -> None:
    """Each direction has its thread: neither waits for the other's queue."""
    rig.engine.add_slab(0)
    rig.engine.add_slab(1)
    rig.have_slabs(0, 1)
    saved = [rig.block(block) for block in range(5)]
    rig.engine.submit(CopyJob(0, True, tuple(Copy(n, n) for n in range(5))))
    rig.finish(0)
    for number in range(1, 41, 2):
        copies = tuple(Copy(10 + n, SLOTS_PER_SLAB + n) for n in range(5))
        rig.engine.submit(CopyJob(number, True, copies))
        copies = tuple(Copy(20 + n, n) for n in range(5))
        rig.engine.submit(CopyJob(number + 1, False, copies))
    rig.finish(*range(41))
    assert [rig.block(20 + n) for n in range(5)] == saved


def test_a_slow_direction_does_not_hold_up_the_other(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.engine.add_slab(0)
    rig.have_slabs(0)
    released = threading.Event()
    copy = rig.engine._copy

    def copy_out_when_released(job: CopyJob) -> None:
        assert not job.out or released.wait(DEADLINE_S)
        copy(job)

    monkeypatch.setattr(rig.engine._out, "_handle", copy_out_when_released)
    rig.engine.submit(CopyJob(1, True, (Copy(0, 0),)))
    rig.engine.submit(CopyJob(2, False, (Copy(1, 1),)))
    rig.finish(2)
    assert 1 not in rig.results
    released.set()
    rig.finish(1)


def test_slabs_come_and_go(rig: Rig) -> None:
    assert rig.engine.slots_per_slab == SLOTS_PER_SLAB
    assert rig.engine.slab_bytes == SLOTS_PER_SLAB * sum(SEGMENTS)
    rig.engine.add_slab(0)
    rig.engine.add_slab(3)
    rig.have_slabs(0, 3)
    rig.engine.drop_slab(0)
    rig.have_slabs(3)
    rig.engine.submit(CopyJob(1, True, (Copy(0, 3 * SLOTS_PER_SLAB),)))
    rig.finish(1)
    assert rig.results[1].error is None
    rig.engine.add_slab(0)
    rig.have_slabs(0, 3)


def test_a_copy_to_a_missing_slab_is_an_error_and_no_more(rig: Rig) -> None:
    rig.engine.add_slab(0)
    rig.have_slabs(0)
    rig.engine.submit(CopyJob(1, True, (Copy(0, 9 * SLOTS_PER_SLAB),)))
    rig.engine.submit(CopyJob(2, True, (Copy(0, 0),)))
    rig.finish(1, 2)
    assert rig.results[1].error is not None
    assert "slab 9" in rig.results[1].error
    assert rig.results[2].error is None


def test_memory_that_cannot_be_had_is_reported() -> None:
    engine = CpuCopyEngine([HbmRegion(0, 1 << 50)], slots_per_slab=1 << 10)
    engine.add_slab(0)
    engine.close()
    report = engine.poll()
    assert report.slabs_gone == (0,)
    assert report.slab_error is not None
    assert report.slab_error.startswith("cannot allocate")


def test_close_finishes_what_is_queued_and_stops_all_threads(rig: Rig) -> None:
    names = {"kv-out", "kv-in", "kv-slabs"}
    assert names <= {thread.name for thread in threading.enumerate()}
    rig.engine.add_slab(0)
    rig.have_slabs(0)
    for number in range(20):
        rig.engine.submit(CopyJob(number, number % 2 == 0, (Copy(number, number % 5),)))
    rig.engine.close()
    rig.poll()
    assert rig.results.keys() == set(range(20))
    assert not names & {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("num_blocks", [1, 4, NUM_BLOCKS])
def test_calibration_measures_both_directions_and_is_reported_once(
    rig: Rig, num_blocks: int
) -> None:
    rig.engine.calibrate(num_blocks)
    report = rig.poll()
    link = report.calibration
    assert link is not None
    assert min(link.out_bytes_per_s, link.in_bytes_per_s, link.duplex_bytes_per_s) > 0
    assert link.crossover_bytes is None, "there is one way to copy"
    assert report == EngineReport(calibration=link), "and nothing else happened"
    assert rig.poll().is_empty


def test_calibration_moves_no_block_beyond_those_it_was_given(rig: Rig) -> None:
    before = [rig.block(number) for number in range(4, NUM_BLOCKS)]
    rig.engine.calibrate(4)
    assert [rig.block(number) for number in range(4, NUM_BLOCKS)] == before


def test_without_memory_to_calibrate_with_nothing_is_claimed() -> None:
    engine = CpuCopyEngine([HbmRegion(0, 1 << 50)], slots_per_slab=1 << 10)
    engine.calibrate(4)
    assert engine.poll().is_empty
    engine.close()


def test_polling_an_idle_engine_reports_nothing(rig: Rig) -> None:
    assert rig.poll().is_empty
