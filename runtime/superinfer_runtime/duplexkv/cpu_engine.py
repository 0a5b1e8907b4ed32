"""Copy engine for CPUs: both tiers are host memory, one thread a direction.

The same scheduler, ledger and planner as on a GPU, with memmove for a link: for laptops, demos and
tests. ctypes releases the interpreter lock during each copy, so out and in truly run at once. On
the CPU platform vLLM's steps are synchronous: when a job is submitted, all earlier steps are done.
"""

import ctypes
import mmap
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from superinfer_runtime.duplexkv.copy_engine import (
    CopyJob,
    CopyResult,
    EngineReport,
    LinkCalibration,
)
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.duplexkv.planner import KvLayout, block_segments, locate

Item = TypeVar("Item")

_CALIBRATION_SLAB = 1 << 20
"""A slab number that the scheduler never uses."""


@dataclass(frozen=True, slots=True)
class HbmRegion:
    """One region of KV memory: address of block 0 and the bytes of a block."""

    address: int
    segment_bytes: int


class CpuCopyEngine:
    """See `superinfer_runtime.duplexkv.copy_engine.CopyEngine`."""

    def __init__(self, regions: Sequence[HbmRegion], slots_per_slab: int) -> None:
        self._regions = np.array([region.address for region in regions], np.uint64)
        self._layout = KvLayout(tuple(region.segment_bytes for region in regions))
        self._slots_per_slab = slots_per_slab
        self._slabs: dict[int, mmap.mmap] = {}
        self._slab_addresses: dict[int, int] = {}
        self._lock = threading.Lock()
        self._results: list[CopyResult] = []
        self._slabs_ready: list[int] = []
        self._slabs_gone: list[int] = []
        self._slab_error: str | None = None
        self._calibration: LinkCalibration | None = None
        self._out = _Worker("kv-out", self._copy)
        self._in = _Worker("kv-in", self._copy)
        self._memory = _Worker("kv-slabs", self._change_slab)

    @property
    def slots_per_slab(self) -> int:
        return self._slots_per_slab

    @property
    def slab_bytes(self) -> int:
        return self._slots_per_slab * self._layout.block_bytes

    @property
    def slabs(self) -> Sequence[int]:
        """Numbers of the slabs that hold memory."""
        return tuple(self._slabs)

    def add_slab(self, slab: int) -> None:
        self._memory.put(("add", slab))

    def drop_slab(self, slab: int) -> None:
        self._memory.put(("drop", slab))

    def submit(self, job: CopyJob) -> None:
        (self._out if job.out else self._in).put(job)

    def poll(self) -> EngineReport:
        with self._lock:
            report = EngineReport(
                tuple(self._results),
                tuple(self._slabs_ready),
                tuple(self._slabs_gone),
                self._slab_error,
                self._calibration,
            )
            self._results, self._slabs_ready, self._slabs_gone = [], [], []
            self._slab_error = self._calibration = None
        return report

    def close(self) -> None:
        for worker in (self._out, self._in, self._memory):
            worker.stop()
        self._slab_addresses.clear()
        for memory in self._slabs.values():
            memory.close()
        self._slabs.clear()

    def calibrate(self, num_blocks: int) -> None:
        """Measure out, in, and both at once; without memory for it nothing is measured."""
        num_blocks = min(num_blocks, self._slots_per_slab)
        try:
            self._allocate(_CALIBRATION_SLAB)
        except (OSError, MemoryError):
            return
        first_slot = _CALIBRATION_SLAB * self._slots_per_slab
        copies = tuple(Copy(n, first_slot + n) for n in range(num_blocks))
        half = (num_blocks + 1) // 2
        with ThreadPoolExecutor(2) as pool:

            def rate(out: tuple[Copy, ...], into: tuple[Copy, ...]) -> float:
                start_s = time.perf_counter()
                moves = pool.submit(self._move, out, True), pool.submit(self._move, into, False)
                moved_bytes = sum(move.result() for move in moves)
                return moved_bytes / (time.perf_counter() - start_s)

            rate(copies, copies)  # pays for cold caches
            self._calibration = LinkCalibration(
                out_bytes_per_s=rate(copies, ()),
                in_bytes_per_s=rate((), copies),
                duplex_bytes_per_s=rate(copies[:half], copies[num_blocks - half :]),
            )
        self._release(_CALIBRATION_SLAB)

    def _copy(self, job: CopyJob) -> None:
        start_s = time.perf_counter()
        num_bytes = 0
        error: str | None = None
        try:
            num_bytes = self._move(job.copies, job.out)
        except KeyError as missing:
            error = f"slab {missing} is not there"
        busy_s = time.perf_counter() - start_s
        with self._lock:
            self._results.append(CopyResult(job.job_id, job.out, num_bytes, busy_s, error))

    def _move(self, copies: Sequence[Copy], out: bool) -> int:
        """Copy and return how many bytes that were; KeyError: a slab is not there."""
        moves = locate(copies, self._slab_addresses, self._slots_per_slab, self._layout.block_bytes)
        segments = block_segments(moves, self._regions, self._layout)
        targets, sources = (segments.slot, segments.hbm) if out else (segments.hbm, segments.slot)
        pieces = zip(targets.tolist(), sources.tolist(), segments.sizes.tolist(), strict=True)
        for target, source, size in pieces:
            ctypes.memmove(target, source, size)
        return segments.num_bytes

    def _change_slab(self, change: tuple[str, int]) -> None:
        action, slab = change
        if action == "drop":
            self._release(slab)
            with self._lock:
                self._slabs_gone.append(slab)
            return
        try:
            self._allocate(slab)
        except (OSError, MemoryError) as failure:
            with self._lock:
                self._slabs_gone.append(slab)
                self._slab_error = f"cannot allocate {self.slab_bytes} bytes of DRAM: {failure}"
            return
        with self._lock:
            self._slabs_ready.append(slab)

    def _allocate(self, slab: int) -> None:
        memory = mmap.mmap(-1, self.slab_bytes)
        # Touch every page now, off the step's path: the first rotation must not pay for it.
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        ctypes.memset(address, 0, self.slab_bytes)
        self._slabs[slab] = memory
        self._slab_addresses[slab] = address

    def _release(self, slab: int) -> None:
        self._slab_addresses.pop(slab, None)
        memory = self._slabs.pop(slab, None)
        if memory is not None:
            memory.close()


class _Worker(Generic[Item]):
    """A daemon thread that handles queued items in order until stopped."""

    def __init__(self, name: str, handle: Callable[[Item], None]) -> None:
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._handle = handle
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        self._queue.put(item)

    def stop(self) -> None:
        """Handle what is queued, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            self._handle(item)
