"""Messages between the scheduler's half of DuplexKV and the workers' half.

They ride on vLLM's own step: `RotationMetadata` goes out with each scheduler output, `WorkerReport`
comes back with each model output, summed over tensor-parallel ranks by `aggregate`.
"""

from collections import Counter
from dataclasses import dataclass, field

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from superinfer_runtime.duplexkv.copy_engine import CopyJob, CopyResult, EngineReport


@dataclass
class RotationMetadata(KVConnectorMetadata):
    """What the workers are to start with this step."""

    jobs: tuple[CopyJob, ...] = ()
    add_slabs: tuple[int, ...] = ()
    drop_slabs: tuple[int, ...] = ()


@dataclass
class WorkerReport(KVConnectorWorkerMetadata):
    """What finished at the workers: acknowledgement counts, one for each rank that reported."""

    jobs_done: Counter[int] = field(default_factory=Counter)
    jobs_failed: dict[int, str] = field(default_factory=dict)
    slabs_ready: Counter[int] = field(default_factory=Counter)
    slabs_gone: Counter[int] = field(default_factory=Counter)
    slab_error: str | None = None
    copied: list[CopyResult] = field(default_factory=list)

    @classmethod
    def of(cls, report: EngineReport) -> "WorkerReport":
        """One rank's report."""
        return cls(
            jobs_done=Counter(r.job_id for r in report.results if r.job_id >= 0),
            jobs_failed={r.job_id: r.error for r in report.results if r.error is not None},
            slabs_ready=Counter(report.slabs_ready),
            slabs_gone=Counter(report.slabs_gone),
            slab_error=report.slab_error,
            copied=list(report.results),
        )

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """Add another rank's report of the same step."""
        assert isinstance(other, WorkerReport)
        return WorkerReport(
            jobs_done=self.jobs_done + other.jobs_done,
            jobs_failed=self.jobs_failed | other.jobs_failed,
            slabs_ready=self.slabs_ready + other.slabs_ready,
            slabs_gone=self.slabs_gone + other.slabs_gone,
            slab_error=self.slab_error or other.slab_error,
            copied=self.copied + other.copied,
        )
