"""A CUDA copy engine on a played GPU (`fake_gpu`), with memory whose bytes can be checked."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fake_gpu import FakeGpu, FakeSlabs
from superinfer_runtime.duplexkv.copy_engine import CopyResult
from superinfer_runtime.duplexkv.cuda.calibration import Calibrator
from superinfer_runtime.duplexkv.cuda.engine import CudaCopyEngine
from superinfer_runtime.duplexkv.cuda.link import CopyPath, LinkShape
from superinfer_runtime.duplexkv.cuda.rates import Choice
from superinfer_runtime.duplexkv.planner import KvLayout, Moves

LAYOUT = KvLayout((64, 32, 160))
NUM_BLOCKS = 24
SLOTS_PER_SLAB = 5
DEADLINE_S = 10.0
SHAPES = [
    LinkShape(num_sms=1, num_copy_streams=streams, chunk_bytes=chunk * LAYOUT.block_bytes)
    for streams in (1, 3)
    for chunk in (1, 4)
]
Rows = np.ndarray


class Memory:
    """HBM of random bytes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.regions = [
            rng.integers(0, 256, (NUM_BLOCKS, size), dtype=np.uint8)
            for size in LAYOUT.segment_bytes
        ]
        self.addresses = np.array([region.ctypes.data for region in self.regions], np.uint64)

    def block(self, number: int) -> bytes:
        return b"".join(region[number].tobytes() for region in self.regions)

    def fill(self, number: int, value: int) -> None:
        for region in self.regions:
            region[number] = value


def moves(blocks: list[int], slots: list[int], slab: Rows) -> Moves:
    return Moves(
        np.array(blocks, np.uint64),
        np.uint64(slab.ctypes.data) + np.array(slots, np.uint64) * np.uint64(LAYOUT.block_bytes),
        np.zeros(len(blocks), bool),
    )


class Rig:
    """An engine and the GPU it drives. `close` it."""

    def __init__(self, cache: Path, path: CopyPath = CopyPath.STAGED) -> None:
        self.memory = Memory()
        self.gpu = FakeGpu(self.memory.addresses, LAYOUT, random.Random(1))
        self.gpu.run_when_asked = True
        self.slab_memory = FakeSlabs()
        self.now_s = 0.0
        shape = LinkShape(num_sms=1, chunk_bytes=2 * LAYOUT.block_bytes)
        candidates = [Choice(), Choice(path, shape)]
        self.calibrator = Calibrator(self.gpu, self.memory.addresses, LAYOUT, candidates, cache)
        self.engine = CudaCopyEngine(
            self.gpu,
            self.slab_memory,
            self.memory.addresses,
            LAYOUT,
            SLOTS_PER_SLAB,
            self.calibrator,
            stuck_after_s=5.0,
            clock=lambda: self.now_s,
        )
        self.results: dict[int, CopyResult] = {}
        self.slabs: set[int] = set()
        self.errors: list[str] = []
        self.stuck: list[int] = []

    def poll(self) -> None:
        report = self.engine.poll()
        self.results.update((result.job_id, result) for result in report.results)
        self.slabs |= set(report.slabs_ready)
        self.slabs -= set(report.slabs_gone)
        self.stuck += report.stuck
        if report.slab_error:
            self.errors.append(report.slab_error)

    def until(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline_s, "the engine never reported"
            self.poll()
            time.sleep(0.0005)

    def have_slabs(self, *slabs: int) -> None:
        for slab in slabs:
            self.engine.add_slab(slab)
        self.until(lambda: self.slabs >= set(slabs))

    def finish(self, *job_ids: int) -> None:
        self.until(lambda: self.results.keys() >= set(job_ids))

    def close(self) -> None:
        self.gpu.frozen = False
        self.now_s = 0.0
        self.engine.close()
