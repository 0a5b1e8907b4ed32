"""What all tensor-parallel ranks together have said: done is what every rank has done."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from superinfer_runtime.duplexkv.copy_engine import CopyResult, EngineReport, LinkCalibration


@dataclass
class RankReports:
    """What happened at the copy engines; what all ranks did is there once for each rank."""

    copied: list[CopyResult] = field(default_factory=list)
    slabs_ready: list[int] = field(default_factory=list)
    slabs_gone: list[int] = field(default_factory=list)
    slab_error: str | None = None
    calibrations: list[LinkCalibration] = field(default_factory=list)
    stuck: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, report: EngineReport) -> Self:
        """One rank's report."""
        return cls(
            copied=list(report.results),
            slabs_ready=list(report.slabs_ready),
            slabs_gone=list(report.slabs_gone),
            slab_error=report.slab_error,
            calibrations=[report.calibration] if report.calibration is not None else [],
            stuck=list(report.stuck),
        )

    def joined(self, other: Self) -> Self:
        """This and another rank's report of the same step."""
        return type(self)(
            copied=self.copied + other.copied,
            slabs_ready=self.slabs_ready + other.slabs_ready,
            slabs_gone=self.slabs_gone + other.slabs_gone,
            slab_error=self.slab_error or other.slab_error,
            calibrations=self.calibrations + other.calibrations,
            stuck=self.stuck + other.stuck,
        )


class RankAnswers:
    """Collects one answer a rank, done or not, to each thing asked (a job, a slab)."""

    def __init__(self, world_size: int) -> None:
        self._world_size = world_size
        self._done: Counter[int] = Counter()
        self._refused: Counter[int] = Counter()

    def add(self, done: Iterable[int], refused: Iterable[int]) -> list[tuple[int, int]]:
        """Take answers; return (what was asked, ranks that refused) of all that is complete now."""
        self._done.update(done)
        self._refused.update(refused)
        answered = self._done + self._refused
        complete = sorted(key for key, count in answered.items() if count >= self._world_size)
        found = [(key, self._refused[key]) for key in complete]
        for key in complete:
            del self._done[key], self._refused[key]
        return found


def summed(calibrations: Sequence[LinkCalibration]) -> LinkCalibration:
    """The engine's link: its ranks copy their shares of each block at the same time."""
    crossovers = [c.crossover_bytes for c in calibrations if c.crossover_bytes is not None]
    return LinkCalibration(
        out_bytes_per_s=sum(c.out_bytes_per_s for c in calibrations),
        in_bytes_per_s=sum(c.in_bytes_per_s for c in calibrations),
        duplex_bytes_per_s=sum(c.duplex_bytes_per_s for c in calibrations),
        crossover_bytes=max(crossovers, default=None),
    )
