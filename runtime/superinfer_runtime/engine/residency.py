"""The scheduler's half of DuplexKV: ledger, slots and HBM pins behind a few verbs.

Each copy under way holds a reference of its own on its HBM block in vLLM's block pool, from the
moment it is planned to its acknowledgement by all workers. So a block returns to the pool only
after the acknowledgement, whatever becomes of its request: finishing, aborting or rotating a
request just drops the request's own references.

A job that a worker reports as stuck is given up, but keeps its pins and slots until it ends after
all. An idle engine does not step for its sake: its end is noticed with the next step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from superinfer_runtime.duplexkv.copy_engine import CopyJob, LinkCalibration
from superinfer_runtime.duplexkv.jobs import Job, JobKind
from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool
from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.engine.ranks import RankAnswers, RankReports, summed
from superinfer_runtime.policy.transfer_budget import TransferBudget


@dataclass
class CopyOrders:
    """What the copy engines are to start."""

    jobs: tuple[CopyJob, ...] = ()
    add_slabs: tuple[int, ...] = ()
    drop_slabs: tuple[int, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What a worker report changed, in request ids."""

    lost: list[str] = field(default_factory=list)
    loads_ended: list[str] = field(default_factory=list)
    """Requests whose load job ended or is given up, aborted ones too."""


@dataclass(slots=True)
class DirectionTotals:
    """One direction of the link since start."""

    rotations: int = 0
    num_bytes: int = 0
    busy_s: float = 0.0


class KvResidency:
    """See the module's text. ``block_pool`` is vLLM's."""

    def __init__(
        self, block_pool: Any, geometry: KvGeometry, transfer_budget: TransferBudget
    ) -> None:
        self.geometry = geometry
        self.slots = SlotPool(geometry.slots_per_slab)
        self.ledger = BlockLedger(self.slots, geometry.block_size)
        self.out = DirectionTotals()
        self.into = DirectionTotals()
        self.link: LinkCalibration | None = None
        self.copy_failures = 0
        self._pool = block_pool
        self._budget = transfer_budget
        self._jobs: list[CopyJob] = []
        self._kinds: dict[int, tuple[JobKind, int]] = {}
        self._loads: dict[int, str] = {}
        self._stuck: set[int] = set()
        self._calibrations: list[LinkCalibration] = []
        self._job_answers = RankAnswers(geometry.world_size)
        self._slab_answers = RankAnswers(geometry.world_size)

    @property
    def busy(self) -> bool:
        """Whether acknowledgements are outstanding, or memory is on its way: keep stepping."""
        return self.ledger.num_jobs > len(self._stuck) or not self._memory_settled

    @property
    def is_stuck(self) -> bool:
        """Whether a copy should have ended long ago: no further one is to be started."""
        return bool(self._stuck)

    @property
    def _memory_settled(self) -> bool:
        # A retiring slab in use waits for requests, not for steps.
        return self.slots.settled or (self.slots.has_retiring and self.slots.num_used > 0)

    def blocks_in_flight(self, *kinds: JobKind) -> int:
        """Blocks in unacknowledged jobs of ``kinds`` that are not stuck."""
        return sum(
            count
            for job_id, (kind, count) in self._kinds.items()
            if kind in kinds and job_id not in self._stuck
        )

    @property
    def transfer_blocks(self) -> int:
        """Blocks that the link can still take in this iteration."""
        return self._budget.blocks(self.blocks_in_flight(JobKind.OUT, JobKind.IN))

    def rotate_out(self, request_id: str, blocks: Sequence[int], num_tokens: int) -> None:
        """Start to move the KV of ``num_tokens`` tokens to DRAM."""
        job = self.ledger.rotate_out(request_id, blocks, num_tokens)
        self.out.rotations += 1
        if job is not None:
            self._submit(job)

    def rotate_in(self, request_id: str, blocks: Sequence[int], num_present: int) -> None:
        """Start to move a request's KV into ``blocks``, but for the first ``num_present``."""
        job = self.ledger.rotate_in(request_id, blocks, num_present)
        self.into.rotations += 1
        self._loads[job.job_id] = request_id
        self._submit(job)

    def mirror(self, wanted: Sequence[tuple[str, Sequence[int], int]]) -> None:
        """Mirror full blocks with what the link has left."""
        spare = self._budget.blocks(self.blocks_in_flight(*JobKind))
        job = self.ledger.start_mirror(wanted, spare) if wanted and spare > 0 else None
        if job is not None:
            self._submit(job)

    def take_orders(self) -> CopyOrders:
        """What the workers are to start; call once a step, before the step is launched."""
        changes = self.slots.take_changes()
        self.ledger.drop_retiring_mirrors()
        orders = CopyOrders(tuple(self._jobs), changes.add, changes.drop)
        self._jobs = []
        return orders

    def apply(self, report: RankReports) -> Outcome:
        """Take one step's report; a job or slab counts once every rank has answered."""
        self._calibrate(report)
        self._record_copies(report)
        for slab, num_gone in self._slab_answers.add(report.slabs_ready, report.slabs_gone):
            if num_gone == 0:
                self.slots.slab_ready(slab)
            elif num_gone == self.geometry.world_size:
                self.slots.slab_gone(slab)
            else:
                self.slots.slab_refused(slab)
        outcome = Outcome()
        for job_id in report.stuck:
            if job_id in self._kinds and job_id not in self._stuck:
                self._abandon(job_id, outcome)
        done = [copied.job_id for copied in report.copied if copied.error is None]
        failed = [copied.job_id for copied in report.copied if copied.error is not None]
        for job_id, num_failed in self._job_answers.add(done, failed):
            self._finish(job_id, ok=num_failed == 0, outcome=outcome)
        return outcome

    def _abandon(self, job_id: int, outcome: Outcome) -> None:
        self._stuck.add(job_id)
        self.copy_failures += 1
        outcome.lost += self.ledger.abandon(job_id)
        self._end_load(job_id, outcome)

    def _finish(self, job_id: int, *, ok: bool, outcome: Outcome) -> None:
        finished = self.ledger.finish(job_id, ok=ok)
        self.copy_failures += not ok and job_id not in self._stuck
        self._stuck.discard(job_id)
        del self._kinds[job_id]
        self._unpin(finished.unpin)
        outcome.lost += finished.lost
        self._end_load(job_id, outcome)

    def _end_load(self, job_id: int, outcome: Outcome) -> None:
        if job_id in self._loads:
            outcome.loads_ended.append(self._loads.pop(job_id))

    def _calibrate(self, report: RankReports) -> None:
        self._calibrations += report.calibrations
        if self.link is None and len(self._calibrations) == self.geometry.world_size:
            self.link = summed(self._calibrations)
            self._budget.calibrate(
                out_bytes_per_s=self.link.out_bytes_per_s,
                in_bytes_per_s=self.link.in_bytes_per_s,
                duplex_bytes_per_s=self.link.duplex_bytes_per_s,
            )

    def _record_copies(self, report: RankReports) -> None:
        world = self.geometry.world_size
        for copied in report.copied:
            totals = self.out if copied.out else self.into
            totals.num_bytes += copied.num_bytes
            totals.busy_s += copied.busy_s / world
            if copied.job_id not in self._stuck:  # how long that took says nothing of the link
                # Every rank moves its share of a block at the same time as the others.
                self._budget.record_transfer(
                    out=copied.out, num_bytes=copied.num_bytes * world, busy_s=copied.busy_s
                )

    def _submit(self, job: Job) -> None:
        self._pool.touch([self._pool.blocks[copy.block] for copy in job.copies])
        self._kinds[job.job_id] = (job.kind, len(job.copies))
        self._jobs.append(CopyJob(job.job_id, job.kind is not JobKind.IN, job.copies))

    def _unpin(self, blocks: Iterable[int]) -> None:
        self._pool.free_blocks([self._pool.blocks[block] for block in blocks])
