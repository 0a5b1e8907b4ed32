"""The copy engine of a simulated worker: the real interface, with time passing instead of bytes.

See `superinfer_runtime.duplexkv.copy_engine.CopyEngine`. Jobs of one direction run in order, both
directions at once on a `DuplexLink`; slabs are pinned one after the other. Nothing happens between
calls: each first catches up with the clock. Neighbouring segments merge as the planner of the real
engines merges them, and the way to copy is the one that calibration would choose on this link.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import inf

from superinfer_runtime.duplexkv.copy_engine import (
    CopyJob,
    CopyResult,
    EngineReport,
    LinkCalibration,
)
from superinfer_runtime.duplexkv.planner import KvLayout
from superinfer_runtime.sim.machine.duplex_link import DuplexLink, Ended, Transfer
from superinfer_runtime.sim.machine.link import NEARLY, CopyPath, LinkSpec, share_at
from superinfer_runtime.sim.machine.segments import count_segments
from superinfer_runtime.sim.result import CopySpan

PIECE_BYTES = 32 << 20
"""DRAM is pinned in pieces of about this size, which no copy spans (`duplexkv.cuda.slabs`)."""
_CALIBRATION_BYTES = 128 << 20
_REMEMBERED = 1024
"""Stretches of time in which a direction was busy; more than a step can hold."""
_SWEEP_BYTES = tuple(16 << (10 + power) for power in range(9))
"""Segments that calibration tries to find where direct copies are as fast as staged ones."""


class SimulatedCopyEngine:
    """See the module's text.

    Args:
        layout: this worker's KV.
        link: its link to DRAM.
        slots_per_slab: blocks a slab.
        clock: virtual time in seconds; never goes back.
        dram_bytes: slabs beyond this are refused; None: there is always room.
        keep_spans: whether to keep a `CopySpan` of every finished job, for timelines.
    """

    def __init__(
        self,
        layout: KvLayout,
        link: LinkSpec,
        slots_per_slab: int,
        clock: Callable[[], float],
        *,
        dram_bytes: float | None = None,
        keep_spans: bool = False,
    ) -> None:
        self._layout = layout
        self._block_bytes = layout.block_bytes
        self._num_regions = len(layout.segment_bytes)
        self._slots_per_slab = slots_per_slab
        self._piece_slots = max(PIECE_BYTES // layout.block_bytes, 1)
        self._spec = link
        self._clock = clock
        self._dram_bytes = dram_bytes
        self.path: CopyPath = link.path(layout.block_bytes // self._num_regions)
        self._keep_spans = keep_spans
        self.spans: list[CopySpan] = []
        self._link = DuplexLink()
        self._busy = {out: deque[tuple[float, float]](maxlen=_REMEMBERED) for out in (True, False)}
        self._results: list[CopyResult] = []
        self._errors: dict[int, str] = {}
        self._slabs: set[int] = set()
        self._changes: deque[tuple[float, bool, int]] = deque()
        """(when it is done, whether added, slab), in order."""
        self._calibration: LinkCalibration | None = None

    @property
    def slots_per_slab(self) -> int:
        return self._slots_per_slab

    @property
    def slab_bytes(self) -> int:
        return self._slots_per_slab * self._block_bytes

    @property
    def slabs(self) -> Sequence[int]:
        """Numbers of the slabs that hold memory."""
        return sorted(self._slabs)

    def calibrate(self, num_blocks: int) -> None:
        """Report what measuring shuffled blocks on this link would; takes no virtual time."""
        spec = self._spec
        staged = spec.staged_share
        fast_enough = (
            size
            for size in _SWEEP_BYTES
            if staged is not None and share_at(spec.duplex_shares, size) >= NEARLY * staged
        )
        self._calibration = LinkCalibration(
            out_bytes_per_s=self._measured(True),
            in_bytes_per_s=self._measured(False),
            duplex_bytes_per_s=self._measured(True, False),
            crossover_bytes=next(fast_enough, None),
        )

    def _measured(self, *directions: bool) -> float:
        """Bytes a second of as much in each of these directions, up to the last end."""
        link = DuplexLink()
        segment_bytes = self._block_bytes / self._num_regions
        for out in directions:
            link.submit(self._transfer(0, out, _CALIBRATION_BYTES, segment_bytes, 0.0), 0.0)
        last_s = max(done.end_s for done in link.advance(inf))
        return len(directions) * _CALIBRATION_BYTES / last_s

    def add_slab(self, slab: int) -> None:
        self._change(added=True, slab=slab)

    def drop_slab(self, slab: int) -> None:
        self._change(added=False, slab=slab)

    def submit(self, job: CopyJob) -> None:
        now_s = self._catch_up()
        count = len(job.copies)
        per_slab = self._slots_per_slab
        missing = {copy.slot // per_slab for copy in job.copies} - self._slabs
        if missing:
            self._errors[job.job_id] = f"slab {min(missing)} is not there"
            count = 0
        num_bytes = count * self._block_bytes
        segments = count * self._num_regions
        if segments > 1 and self._num_regions == 1 and self.path is CopyPath.DIRECT:
            segments = count_segments(job.copies, self._piece_slots, per_slab)
        segment_bytes = num_bytes / segments if segments else 1.0
        setup_s = self._spec.fixed_s if count else 0.0
        transfer = self._transfer(job.job_id, job.out, num_bytes, segment_bytes, setup_s)
        self._link.submit(transfer, now_s)

    def _transfer(
        self, job_id: int, out: bool, num_bytes: int, segment_bytes: float, setup_s: float
    ) -> Transfer:
        spec = self._spec
        alone, both = spec.shares(self.path, segment_bytes)
        one_way = spec.out_bytes_per_s if out else spec.in_bytes_per_s
        return Transfer(
            job_id, out, num_bytes, setup_s, alone * one_way, both * spec.duplex_bytes_per_s
        )

    def poll(self) -> EngineReport:
        now_s = self._catch_up()
        results, self._results = self._results, []
        ready: list[int] = []
        gone: list[int] = []
        refused: str | None = None
        while self._changes and self._changes[0][0] <= now_s:
            _, added, slab = self._changes.popleft()
            if not added:
                self._slabs.discard(slab)
                gone.append(slab)
            elif self._has_room():
                self._slabs.add(slab)
                ready.append(slab)
            else:
                gone.append(slab)
                refused = f"cannot allocate {self.slab_bytes} bytes of DRAM"
        calibration, self._calibration = self._calibration, None
        return EngineReport(tuple(results), tuple(ready), tuple(gone), refused, calibration)

    def close(self) -> None:
        """Finish what is queued; the results are lost."""
        self._note(self._link.advance(inf))
        self._results.clear()
        self._changes.clear()
        self._slabs.clear()

    # --- what only a simulation asks ------------------------------------------------------------

    def next_event_s(self) -> float | None:
        """When the link or a slab changes next, now if `poll` has results; None: all is quiet.

        A transfer that starts to move is a change too: then `poll` may still have nothing to say.
        """
        now_s = self._catch_up()
        if self._results:
            return now_s
        next_s = self._link.next_event_s
        if self._changes:
            next_s = min(next_s, self._changes[0][0])
        return next_s if next_s < inf else None

    def busy_share(self, start_s: float, end_s: float) -> float:
        """Return the share of a time in which a copy was under way, mean of both directions.

        Of an end in the future it is taken that all stays as it is now. What lies before
        ``start_s`` is forgotten: ask about later times only.
        """
        self._catch_up()
        if end_s <= start_s:
            return 0.0
        busy_s = 0.0
        for out, intervals in self._busy.items():
            while intervals and intervals[0][1] <= start_s:
                intervals.popleft()
            for began_s, ended_s in intervals:
                busy_s += max(min(ended_s, end_s) - max(began_s, start_s), 0.0)
            if self._link.is_busy(out):
                busy_s += max(end_s - max(self._link.busy_since_s(out), start_s), 0.0)
        return busy_s / (2.0 * (end_s - start_s))

    # --- time ---------------------------------------------------------------------------------

    def _catch_up(self) -> float:
        now_s = self._clock()
        if self._link.next_event_s <= now_s:
            self._note(self._link.advance(now_s))
        return now_s

    def _note(self, ended: list[Ended]) -> None:
        for done in ended:
            transfer, start_s, end_s = done.transfer, done.start_s, done.end_s
            out = transfer.out
            busy = self._busy[out]
            # Jobs without a pause between them are one stretch.
            began_s = busy.pop()[0] if busy and busy[-1][1] == start_s else start_s
            busy.append((began_s, end_s))
            error = self._errors.pop(transfer.job_id, None) if self._errors else None
            self._results.append(
                CopyResult(transfer.job_id, out, transfer.num_bytes, end_s - start_s, error)
            )
            if self._keep_spans and error is None:
                self.spans.append(CopySpan(start_s, end_s, out, transfer.num_bytes))

    # --- slabs ----------------------------------------------------------------------------------

    def _change(self, *, added: bool, slab: int) -> None:
        """One thread pins and releases; releasing is taken to be as slow as pinning."""
        now_s = self._catch_up()
        free_s = max(now_s, self._changes[-1][0]) if self._changes else now_s
        self._changes.append((free_s + self.slab_bytes * self._spec.pin_s_per_byte, added, slab))

    def _has_room(self) -> bool:
        if self._dram_bytes is None:
            return True
        return (len(self._slabs) + 1) * self.slab_bytes <= self._dram_bytes
