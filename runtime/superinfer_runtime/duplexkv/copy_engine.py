"""The interface that all copy engines share: submit jobs, collect acknowledgements.

An engine runs in the worker process, next to the KV it copies. `submit` and `poll` never block:
both are called on the step's path. Copies out and in run at the same time; copies of one direction
run in the order they were submitted. Ordering against compute is the engine's duty: a copy reads
HBM only after the steps launched before `submit`, and the scheduler names only blocks that no later
step writes.
"""

from dataclasses import dataclass
from typing import Protocol

from superinfer_runtime.duplexkv.jobs import Copy


@dataclass(frozen=True, slots=True)
class CopyJob:
    """Copies to do in one direction (``out``: HBM to DRAM)."""

    job_id: int
    out: bool
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class CopyResult:
    """Acknowledgement of one job: how much it moved and how long the link was busy with it."""

    job_id: int
    out: bool
    num_bytes: int
    busy_s: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LinkCalibration:
    """What the link between HBM and DRAM can do, measured before any KV was in use."""

    out_bytes_per_s: float
    in_bytes_per_s: float
    duplex_bytes_per_s: float
    """Both directions at once, summed."""
    crossover_bytes: int | None = None
    """Smallest segment that the copy engines of the GPU move at least as fast as its SMs gather
    and scatter it; None where there is one way to copy."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What happened since the last `poll`."""

    results: tuple[CopyResult, ...] = ()
    slabs_ready: tuple[int, ...] = ()
    slabs_gone: tuple[int, ...] = ()
    slab_error: str | None = None
    calibration: LinkCalibration | None = None
    stuck: tuple[int, ...] = ()
    """Jobs that should have ended long ago, each named once; a result may still come."""

    @property
    def is_empty(self) -> bool:
        return self == EngineReport()


class CopyEngine(Protocol):
    """Moves KV between HBM and the DRAM slabs it owns."""

    @property
    def slots_per_slab(self) -> int:
        """Blocks that one slab holds."""
        ...

    def calibrate(self, num_blocks: int) -> None:
        """Measure the link with the first ``num_blocks`` blocks, whose contents are lost.

        Called once, before any KV is in use; reported by the next `poll`.
        """
        ...

    def add_slab(self, slab: int) -> None:
        """Start to allocate and pin a slab; reported in ``slabs_ready`` (or ``slabs_gone``)."""
        ...

    def drop_slab(self, slab: int) -> None:
        """Start to release a slab that no job uses any more; reported in ``slabs_gone``."""
        ...

    def submit(self, job: CopyJob) -> None:
        """Queue a job."""
        ...

    def poll(self) -> EngineReport:
        """Return what finished since the last call."""
        ...

    def close(self) -> None:
        """Finish what is queued, release all memory, stop all threads."""
        ...
