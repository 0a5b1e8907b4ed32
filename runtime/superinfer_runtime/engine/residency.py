"""The scheduler's half of DuplexKV: ledger, slots and HBM pins behind a few verbs.

Each copy under way holds a reference of its own on its HBM block in vLLM's block pool, from the
moment it is planned to its acknowledgement by all workers. So a block returns to the pool only
after the acknowledgement, whatever becomes of its request: finishing, aborting or rotating a
request just drops the request's own references.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from superinfer_runtime.duplexkv.copy_engine import CopyJob
from superinfer_runtime.duplexkv.jobs import Job, JobKind
from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool
from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.engine.messages import RotationMetadata, WorkerReport
from superinfer_runtime.policy.transfer_budget import TransferBudget


@dataclass(slots=True)
class Outcome:
    """What a worker report changed, in request ids."""

    rotated_in: list[str]
    lost: list[str]
    loads_ended: list[str]
    """Requests whose load job was acknowledged, aborted ones too."""


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
        self._pool = block_pool
        self._budget = transfer_budget
        self._jobs: list[CopyJob] = []
        self._kinds: dict[int, tuple[JobKind, int]] = {}
        self._loads: dict[int, str] = {}
        self._done: Counter[int] = Counter()
        self._failed: set[int] = set()
        self._slabs_ready: Counter[int] = Counter()
        self._slabs_gone: Counter[int] = Counter()

    @property
    def busy(self) -> bool:
        """Whether acknowledgements are outstanding, or memory is on its way: keep stepping."""
        return bool(self.ledger.num_jobs) or not self._memory_settled

    @property
    def _memory_settled(self) -> bool:
        # A retiring slab in use waits for requests, not for steps.
        return self.slots.settled or (self.slots.has_retiring and self.slots.num_used > 0)

    def blocks_in_flight(self, *kinds: JobKind) -> int:
        """Blocks in unacknowledged jobs of ``kinds``."""
        return sum(count for kind, count in self._kinds.values() if kind in kinds)

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

    def take_metadata(self) -> RotationMetadata:
        """What the workers are to start; call once a step, before the step is launched."""
        changes = self.slots.take_changes()
        self.ledger.drop_retiring_mirrors()
        metadata = RotationMetadata(tuple(self._jobs), changes.add, changes.drop)
        self._jobs = []
        return metadata

    def apply(self, report: WorkerReport) -> Outcome:
        """Take one step's report; jobs count as done once every rank has acknowledged them."""
        world = self.geometry.world_size
        self._record_copies(report, world)
        self._slabs_gone.update(report.slabs_gone)
        for slab in _complete(self._slabs_gone, world):
            self.slots.slab_gone(slab)
            if report.slab_error is not None:
                # The machine has no more: settle for what there is instead of asking for ever.
                self.slots.resize(self.slots.allocated_slabs)
        self._slabs_ready.update(report.slabs_ready)
        for slab in _complete(self._slabs_ready, world):
            self.slots.slab_ready(slab)
        self._done.update(report.jobs_done)
        self._failed.update(report.jobs_failed)
        outcome = Outcome([], [], [])
        for job_id in _complete(self._done, world):
            ok = job_id not in self._failed
            self._failed.discard(job_id)
            finished = self.ledger.finish(job_id, ok=ok)
            del self._kinds[job_id]
            self._unpin(finished.unpin)
            outcome.rotated_in += finished.rotated_in
            outcome.lost += finished.lost
            if job_id in self._loads:
                outcome.loads_ended.append(self._loads.pop(job_id))
        return outcome

    def _record_copies(self, report: WorkerReport, world: int) -> None:
        for copied in report.copied:
            # Every rank moves its share of a block at the same time as the others.
            self._budget.record_transfer(
                out=copied.out, num_bytes=copied.num_bytes * world, busy_s=copied.busy_s
            )
            if copied.job_id >= 0:
                totals = self.out if copied.out else self.into
                totals.num_bytes += copied.num_bytes
                totals.busy_s += copied.busy_s / world

    def _submit(self, job: Job) -> None:
        self._pool.touch([self._pool.blocks[copy.block] for copy in job.copies])
        self._kinds[job.job_id] = (job.kind, len(job.copies))
        self._jobs.append(CopyJob(job.job_id, job.kind is not JobKind.IN, job.copies))

    def _unpin(self, blocks: Iterable[int]) -> None:
        self._pool.free_blocks([self._pool.blocks[block] for block in blocks])


def _complete(counts: Counter[int], world: int) -> list[int]:
    """Take out of ``counts`` the keys that all ranks have reported."""
    complete = sorted(key for key, count in counts.items() if count >= world)
    for key in complete:
        del counts[key]
    return complete
