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
from dataclasses import dataclass
from typing import Generic, TypeVar

from superinfer_runtime.duplexkv.copy_engine import CopyJob, CopyResult, EngineReport
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.duplexkv.planner import KvLayout, plan_pieces

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
        self._addresses = [region.address for region in regions]
        self._layout = KvLayout(tuple(region.segment_bytes for region in regions))
        self._slots_per_slab = slots_per_slab
        self._slabs: dict[int, mmap.mmap] = {}
        self._slab_addresses: dict[int, int] = {}
        self._lock = threading.Lock()
        self._results: list[CopyResult] = []
        self._slabs_ready: list[int] = []
        self._slabs_gone: list[int] = []
        self._slab_error: str | None = None
        self._out = _Worker("kv-out", self._copy)
        self._in = _Worker("kv-in", self._copy)
        self._memory = _Worker("kv-slabs", self._change_slab)

    @property
    def slots_per_slab(self) -> int:
        return self._slots_per_slab

    @property
    def slab_bytes(self) -> int:
        return self._slots_per_slab * self._layout.block_bytes

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
            )
            self._results, self._slabs_ready, self._slabs_gone = [], [], []
            self._slab_error = None
        return report

    def close(self) -> None:
        for worker in (self._out, self._in, self._memory):
            worker.stop()
        self._slab_addresses.clear()
        for memory in self._slabs.values():
            memory.close()
        self._slabs.clear()

    def calibrate(self, num_blocks: int) -> None:
        """Time one copy of ``num_blocks`` blocks each way, before any KV is in use.

        The results are reported by the first `poll` under job number -1.
        """
        self._change_slab(("add", _CALIBRATION_SLAB))
        first_slot = _CALIBRATION_SLAB * self._slots_per_slab
        copies = tuple(Copy(n, first_slot + n) for n in range(num_blocks))
        for out in (True, True, False):  # the first one pays for cold caches
            self._copy(CopyJob(-1, out, copies))
        self._change_slab(("drop", _CALIBRATION_SLAB))
        with self._lock:
            del self._results[0]
            self._slabs_ready.clear()
            self._slabs_gone.clear()

    def _copy(self, job: CopyJob) -> None:
        start_s = time.perf_counter()
        num_bytes = 0
        error: str | None = None
        try:
            for piece in plan_pieces(job.copies, self._layout, self._slots_per_slab):
                hbm = self._addresses[piece.region] + piece.hbm_offset
                dram = self._slab_addresses[piece.slab] + piece.slab_offset
                target, source = (dram, hbm) if job.out else (hbm, dram)
                ctypes.memmove(target, source, piece.num_bytes)
                num_bytes += piece.num_bytes
        except KeyError as missing:
            error = f"slab {missing} is not there"
        busy_s = time.perf_counter() - start_s
        with self._lock:
            self._results.append(CopyResult(job.job_id, job.out, num_bytes, busy_s, error))

    def _change_slab(self, change: tuple[str, int]) -> None:
        action, slab = change
        if action == "drop":
            self._slab_addresses.pop(slab, None)
            memory = self._slabs.pop(slab, None)
            if memory is not None:
                memory.close()
            with self._lock:
                self._slabs_gone.append(slab)
            return
        try:
            memory = mmap.mmap(-1, self.slab_bytes)
            # Touch every page now, off the step's path: the first rotation must not pay for it.
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            ctypes.memset(address, 0, self.slab_bytes)
        except (OSError, MemoryError) as failure:
            with self._lock:
                self._slabs_gone.append(slab)
                self._slab_error = f"cannot allocate {self.slab_bytes} bytes of DRAM: {failure}"
            return
        self._slabs[slab] = memory
        self._slab_addresses[slab] = address
        with self._lock:
            self._slabs_ready.append(slab)


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
