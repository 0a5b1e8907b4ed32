"""From one simulated run to its figures, in total and per SLO class.

Judged as `bench` judges a measured run, and in the same type, so that a simulated and a measured
figure of one name can be compared. Nothing fails in the simulator: every request is there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from superinfer_contract.slo import SloClass

from superinfer_runtime.bench.distribution import describe
from superinfer_runtime.bench.record import Verdict
from superinfer_runtime.bench.report import Summary as JudgedRequests
from superinfer_runtime.sim.report.weighted_sample import WeightedSample
from superinfer_runtime.sim.request import SimRecord
from superinfer_runtime.sim.result import RunResult

WRITTEN_DIGITS = 6
"""Of seconds and shares in JSON: microseconds, finer than any cost model here (assumed)."""


@dataclass(frozen=True, slots=True)
class Summary(JudgedRequests):
    """Figures of a group of simulated requests; `gap_s` to 0.1 ms, as the simulator counts gaps."""

    makespan_s: float
    """Of the whole run, whatever the group."""
    cached_tokens: int
    rotations: int
    recomputes: int

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.makespan_s if self.makespan_s > 0 else 0.0

    @property
    def cached_share(self) -> float:
        """Share of prompt tokens that the prefix cache held, 0..1."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON: the fields under their own names, and what follows from them."""
        return {
            **_rounded(asdict(self)),
            "ttft_attainment": _rounded(self.ttft_attainment),
            "tbt_attainment": _rounded(self.tbt_attainment),
            "joint_attainment": _rounded(self.joint_attainment),
            "gap_attainment": _rounded(self.gap_attainment),
            "output_tokens_per_s": _rounded(self.output_tokens_per_s),
            "cached_share": _rounded(self.cached_share),
        }


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Figures of one run; those that belong to no class stand beside `total`."""

    policy: str
    slo_classes: tuple[SloClass, ...]
    total: Summary
    classes: Mapping[str, Summary]
    num_steps: int
    computed_prompt_tokens: int
    """Recomputation among them."""
    bytes_out: int
    bytes_in: int
    stalls: int
    """Rotations wanted for which DRAM had no room."""
    peak_hbm_blocks: int
    hbm_blocks: int
    peak_dram_blocks: int
    dram_blocks: int

    @property
    def peak_hbm_share(self) -> float:
        return self.peak_hbm_blocks / self.hbm_blocks if self.hbm_blocks else 0.0

    @property
    def peak_dram_share(self) -> float:
        return self.peak_dram_blocks / self.dram_blocks if self.dram_blocks else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON; `pydantic.TypeAdapter(RunSummary)` reads it again."""
        return {
            "policy": self.policy,
            "slo_classes": [slo_class.model_dump() for slo_class in self.slo_classes],
            "total": self.total.to_dict(),
            "classes": {name: summary.to_dict() for name, summary in self.classes.items()},
            "num_steps": self.num_steps,
            "computed_prompt_tokens": self.computed_prompt_tokens,
            "bytes_out": self.bytes_out,
            "bytes_in": self.bytes_in,
            "stalls": self.stalls,
            "peak_hbm_blocks": self.peak_hbm_blocks,
            "hbm_blocks": self.hbm_blocks,
            "peak_dram_blocks": self.peak_dram_blocks,
            "dram_blocks": self.dram_blocks,
        }


def judge(record: SimRecord, slo_class: SloClass) -> Verdict:
    """Hold a request against its class's targets."""
    return Verdict(
        ttft=record.ttft_s <= slo_class.ttft_s,
        tbt=record.tbt_s is None or record.tbt_s <= slo_class.tbt_s,
    )


def summarize(result: RunResult) -> RunSummary:
    """Sum up a run. Counts of `total` are the sums of the classes'."""
    all_gaps: Counter[float] = Counter()
    for counts in result.gap_counts.values():
        all_gaps.update(counts)
    by_class: dict[str, list[SimRecord]] = {slo_class.name: [] for slo_class in result.classes}
    for record in result.records:
        by_class[record.slo_class].append(record)
    return RunSummary(
        policy=result.policy,
        slo_classes=result.classes,
        total=_summary(result, result.records, all_gaps),
        classes={
            name: _summary(result, records, result.gap_counts.get(name, {}))
            for name, records in by_class.items()
        },
        num_steps=result.num_steps,
        computed_prompt_tokens=result.computed_prompt_tokens,
        bytes_out=result.bytes_out,
        bytes_in=result.bytes_in,
        stalls=result.stalls,
        peak_hbm_blocks=result.peak_hbm_blocks,
        hbm_blocks=result.hbm_blocks,
        peak_dram_blocks=result.peak_dram_blocks,
        dram_blocks=result.dram_blocks,
    )


def _summary(
    result: RunResult, records: Sequence[SimRecord], gap_counts: Mapping[float, int]
) -> Summary:
    targets = {slo_class.name: slo_class for slo_class in result.classes}
    verdicts = [judge(record, targets[record.slo_class]) for record in records]
    gaps = sum(max(record.output_tokens - 1, 0) for record in records)
    return Summary(
        requests=len(records),
        failed=0,
        good_ttft=sum(verdict.ttft for verdict in verdicts),
        good_tbt=sum(verdict.tbt for verdict in verdicts),
        good_joint=sum(verdict.joint for verdict in verdicts),
        gaps=gaps,
        good_gaps=gaps - sum(record.late_gaps for record in records),
        input_tokens=sum(record.prompt_tokens for record in records),
        output_tokens=sum(record.output_tokens for record in records),
        ttft_s=describe(record.ttft_s for record in records),
        tbt_s=describe(record.tbt_s for record in records if record.tbt_s is not None),
        gap_s=WeightedSample(gap_counts).describe(),
        e2e_s=describe(record.finish_s - record.arrival_s for record in records),
        makespan_s=result.makespan_s,
        cached_tokens=sum(record.cached_tokens for record in records),
        rotations=sum(record.rotations for record in records),
        recomputes=sum(record.recomputes for record in records),
    )


def _rounded(figure: Any) -> Any:
    if isinstance(figure, dict):
        return {name: _rounded(value) for name, value in figure.items()}
    return round(figure, WRITTEN_DIGITS) if isinstance(figure, float) else figure
