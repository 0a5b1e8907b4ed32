"""Copy engine for CUDA GPUs; see `superinfer_runtime.duplexkv.copy_engine.CopyEngine`.

`submit` only notes where the GPU's compute stands (an event) and queues the job: one thread plans
and enqueues the copies of both directions, so that their planning never delays a step and two
threads never fight for the interpreter. Nothing waits for the GPU: `poll` asks each direction's
oldest events whether they have passed.

Order: copies out wait for the steps launched before them, which wrote their source. Copies in wait
for nothing: their targets were free before the step in flight, and the step that reads them is
launched after their acknowledgement.

Faults: a copy that the driver refuses is reported as failed once what was enqueued before it has
ended, so that no memory is handed on while it is still written. A job that has not ended long after
it should have is reported as stuck, once, and still reported as done if it ends after all.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from superinfer_runtime.duplexkv.copy_engine import (
    CopyJob,
    CopyResult,
    EngineReport,
    LinkCalibration,
)
from superinfer_runtime.duplexkv.cuda.batch_copy import CopyError
from superinfer_runtime.duplexkv.cuda.calibration import Calibrator
from superinfer_runtime.duplexkv.cuda.device import Device
from superinfer_runtime.duplexkv.cuda.link import Link
from superinfer_runtime.duplexkv.cuda.rates import Choice
from superinfer_runtime.duplexkv.cuda.slabs import SlabError, SlabMemory, piece_slots
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout, locate

STUCK_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class _Enqueued:
    job: CopyJob
    num_bytes: int
    start: Any
    ends: list[Any]
    error: str | None


class CudaCopyEngine:
    """See the module's text. ``regions``: address of block 0 of each region of ``layout``."""

    def __init__(
        self,
        device: Device,
        memory: SlabMemory,
        regions: Addresses,
        layout: KvLayout,
        slots_per_slab: int,
        calibrator: Calibrator,
        *,
        stuck_after_s: float = STUCK_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._memory = memory
        self._regions = regions
        self._layout = layout
        self._slots_per_slab = slots_per_slab
        self._piece_slots = piece_slots(layout.block_bytes)
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._calibrator = calibrator
        self._links: dict[bool, Link] = {}
        self.use(Choice())
        self._slabs: dict[int, int] = {}
        self._submitted_s: dict[int, float] = {}
        self._told_stuck: set[int] = set()
        self._enqueued: dict[bool, deque[_Enqueued]] = {True: deque(), False: deque()}
        self._lock = threading.Lock()
        self._slabs_ready: list[int] = []
        self._slabs_gone: list[int] = []
        self._slab_error: str | None = None
        self._calibration: LinkCalibration | None = None
        self._jobs: queue.SimpleQueue[tuple[CopyJob, Any] | None] = queue.SimpleQueue()
        self._changes: queue.SimpleQueue[tuple[bool, int] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("kv-copies", self._enqueue_jobs),
                ("kv-slabs", self._change_slabs),
            )
        ]
        for thread in self._threads:
            thread.start()

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

    @property
    def choice(self) -> Choice:
        """The way of copying in use; calibration chooses it."""
        return self._choice

    def use(self, choice: Choice) -> None:
        """Copy this way from now on, or directly if that takes HBM which is not there.

        Only while no job is queued.
        """
        links = {
            out: Link(self._device, self._regions, self._layout, choice.shape, out=out)
            for out in (True, False)
        }
        try:
            for link in links.values():
                link.prepare(choice.path)
        except CopyError:
            self.use(Choice())
        else:
            self._choice, self._links = choice, links

    def calibrate(self, num_blocks: int) -> None:
        """Choose the way to copy, from a cached result for the same hardware or by measuring."""
        calibrated = self._calibrator.cached()
        num_slots = min(num_blocks, self._slots_per_slab, self._calibrator.useful_slots)
        if calibrated is None and num_slots >= 2:
            num_bytes = num_slots * self._layout.block_bytes
            slab = self._memory.allocate(num_bytes, num_bytes)
            try:
                calibrated = self._calibrator.measure(slab, num_slots, num_blocks)
            finally:
                self._memory.release(slab)
        if calibrated is not None:
            self.use(calibrated.choice)
            self._calibration = calibrated.link

    def add_slab(self, slab: int) -> None:
        self._changes.put((True, slab))

    def drop_slab(self, slab: int) -> None:
        self._changes.put((False, slab))

    def submit(self, job: CopyJob) -> None:
        self._submitted_s[job.job_id] = self._clock()
        self._jobs.put((job, self._device.record(None) if job.out else None))

    def poll(self) -> EngineReport:
        results = [*self._ended(True), *self._ended(False)]
        late_s = self._clock() - self._stuck_after_s
        stuck = tuple(
            job_id
            for job_id, submitted_s in self._submitted_s.items()
            if submitted_s <= late_s and job_id not in self._told_stuck
        )
        self._told_stuck.update(stuck)
        with self._lock:
            report = EngineReport(
                tuple(results),
                tuple(self._slabs_ready),
                tuple(self._slabs_gone),
                self._slab_error,
                self._calibration,
                stuck,
            )
            self._slabs_ready, self._slabs_gone = [], []
            self._slab_error = self._calibration = None
        return report

    def close(self) -> None:
        """End the threads, wait for what runs and release the slabs.

        If copies are stuck their slabs stay: memory under a copy is never given back.
        """
        self._jobs.put(None)
        self._changes.put(None)
        deadline_s = self._clock() + self._stuck_after_s
        for thread in self._threads:
            thread.join(max(deadline_s - self._clock(), 0.0))
        while self._submitted_s and self._clock() < deadline_s:
            self.poll()
            time.sleep(0.001)
        if not self._submitted_s:
            for address in self._slabs.values():
                self._memory.release(address)
            self._slabs.clear()

    # --- copies -----------------------------------------------------------------------------

    def _enqueue_jobs(self) -> None:
        self._device.use_in_thread()
        while (item := self._jobs.get()) is not None:
            job, after = item
            self._enqueued[job.out].append(self._enqueue(job, after))

    def _enqueue(self, job: CopyJob, after: Any) -> _Enqueued:
        num_bytes = len(job.copies) * self._layout.block_bytes
        try:
            moves = locate(
                job.copies,
                self._slabs,
                self._slots_per_slab,
                self._layout.block_bytes,
                self._piece_slots,
            )
        except KeyError as missing:
            return _Enqueued(job, 0, None, [], f"slab {missing} is not there")
        link = self._links[job.out]
        try:
            start, ends = link.enqueue(moves, self._choice.path, after)
        except Exception as failure:  # whatever it was, the jobs behind it must go on
            # Part of it may be under way: the job ends, and has failed, once that has ended.
            return _Enqueued(job, 0, None, link.give_up(), str(failure))
        return _Enqueued(job, num_bytes, start, ends, None)

    def _ended(self, out: bool) -> Iterator[CopyResult]:
        """Copies of one direction end in the order in which they were enqueued."""
        enqueued = self._enqueued[out]
        while enqueued and all(self._device.is_done(event) for event in enqueued[0].ends):
            ended = enqueued.popleft()
            del self._submitted_s[ended.job.job_id]
            self._told_stuck.discard(ended.job.job_id)
            busy_s = 0.0
            if ended.start is not None:
                busy_s = max(self._device.seconds_between(ended.start, e) for e in ended.ends)
            yield CopyResult(ended.job.job_id, out, ended.num_bytes, busy_s, ended.error)

    # --- slabs ------------------------------------------------------------------------------

    def _change_slabs(self) -> None:
        while (change := self._changes.get()) is not None:
            add, slab = change
            if add:
                self._add_slab(slab)
            else:
                self._drop_slab(slab)

    def _add_slab(self, slab: int) -> None:
        try:
            self._slabs[slab] = self._memory.allocate(
                self.slab_bytes, self._piece_slots * self._layout.block_bytes
            )
        except SlabError as failure:
            with self._lock:
                self._slabs_gone.append(slab)
                self._slab_error = str(failure)
            return
        with self._lock:
            self._slabs_ready.append(slab)

    def _drop_slab(self, slab: int) -> None:
        address = self._slabs.pop(slab, None)
        if address is not None:
            self._memory.release(address)
        with self._lock:
            self._slabs_gone.append(slab)
