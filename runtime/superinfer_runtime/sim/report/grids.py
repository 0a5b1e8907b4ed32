"""The report's tables as plain text cells, for the terminal and the HTML page alike.

Attainments are shares of requests, except `gaps`: of single gaps between tokens. A figure without a
sample is "-", never 0.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from superinfer_contract.slo import SloClass

from superinfer_runtime.bench.distribution import Distribution
from superinfer_runtime.sim.report.curves import CurvePoint, curves
from superinfer_runtime.sim.report.summary import RunSummary, Summary
from superinfer_runtime.sim.report.sweep import Sweep

ALL_CLASSES = "all"
NO_FIGURE = "-"

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A titled table. The first `labels` columns name the row; a rule divides the sections."""

    title: str
    labels: int
    columns: Row
    sections: tuple[tuple[Row, ...], ...]

    def displayed(self) -> Iterator[Iterator[Row]]:
        """The sections, a first label left blank where another only repeats it."""
        for rows in self.sections:
            yield (
                ("", *row[1:]) if self.labels > 1 and above and row[0] == above[0] else row
                for row, above in zip(rows, (None, *rows), strict=False)
            )


def run_grids(runs: Sequence[RunSummary]) -> tuple[Grid, ...]:
    """Policies side by side over one workload: objectives, latencies, KV."""
    return (
        Grid(
            "Objectives met",
            2,
            ("policy", "class", "targets", "requests", "TTFT", "TBT", "joint", "gaps", "tok/s"),
            _by_policy([tuple(_objectives(run)) for run in runs]),
        ),
        Grid(
            "Latency, all classes: TTFT and end to end in s, TBT and gaps between tokens in ms",
            1,
            (
                "policy",
                *("TTFT P50", "TTFT P90", "TTFT P99"),
                *("TBT P50", "TBT P99", "gap P50", "gap P99", "e2e P50", "e2e P99"),
            ),
            (tuple(_latencies(run) for run in runs),),
        ),
        Grid(
            "KV: rotated to and from DRAM, peak use of the pools",
            1,
            (
                "policy",
                "GB out",
                "GB in",
                "rotations",
                "stalls",
                "recomputes",
                "prefix hits",
                "HBM peak",
                "DRAM peak",
            ),
            (tuple(_kv(run) for run in runs),),
        ),
    )


def sweep_grid(sweep: Sweep, scenario: str) -> Grid:
    """Attainments and throughput by rate and policy, each the mean over the seeds."""
    by_policy = curves(sweep, scenario)
    rates = sorted({point.rate for points in by_policy.values() for point in points})
    return Grid(
        f"{scenario}: attainment by request rate",
        2,
        ("req/s", "policy", "seeds", "TTFT", "TBT", "joint", "gaps", "tok/s"),
        tuple(
            tuple(
                _sweep_row(policy, point)
                for policy, points in by_policy.items()
                for point in points
                if point.rate == rate
            )
            for rate in rates
        ),
    )


def max_rate_grid(sweep: Sweep) -> Grid:
    """The highest rates that each policy holds, one column per share of requests."""
    return Grid(
        "Highest req/s at a joint attainment of",
        2,
        ("workload", "policy", *(f"≥ {goal * 100:g} %" for goal in sweep.goals)),
        tuple(
            tuple(
                (
                    scenario,
                    policy,
                    *(f"{rates[goal]:.2f}" if goal in rates else NO_FIGURE for goal in sweep.goals),
                )
                for policy, rates in policies.items()
            )
            for scenario, policies in sweep.max_rates.items()
        ),
    )


def share(part: float) -> str:
    """0..1 as per cent; rounding never makes all of less than all."""
    text = f"{part:.1%}"
    return "99.9%" if text == "100.0%" and part < 1 else text


def _by_policy(sections: Sequence[tuple[Row, ...]]) -> tuple[tuple[Row, ...], ...]:
    """Rules only where a policy has several rows."""
    if any(len(rows) > 1 for rows in sections):
        return tuple(sections)
    return (tuple(row for rows in sections for row in rows),)


def _objectives(run: RunSummary) -> Iterable[Row]:
    for slo_class in run.slo_classes:
        yield _objectives_row(run, slo_class.name, _targets(slo_class), run.classes[slo_class.name])
    if len(run.slo_classes) > 1:
        yield _objectives_row(run, ALL_CLASSES, "", run.total)


def _objectives_row(run: RunSummary, name: str, targets: str, summary: Summary) -> Row:
    attainments = (
        summary.ttft_attainment,
        summary.tbt_attainment,
        summary.joint_attainment,
    )
    return (
        run.policy,
        name,
        targets,
        f"{summary.requests:,}",
        *(share(part) if summary.requests else NO_FIGURE for part in attainments),
        share(summary.gap_attainment) if summary.gaps else NO_FIGURE,
        f"{summary.output_tokens_per_s:,.0f}",
    )


def _targets(slo_class: SloClass) -> str:
    return f"{slo_class.ttft_s:g}s/{slo_class.tbt_s * 1000:g}ms"


def _latencies(run: RunSummary) -> Row:
    total = run.total
    return (
        run.policy,
        *_figures(total.ttft_s, ("p50", "p90", "p99"), 1, 2),
        *_figures(total.tbt_s, ("p50", "p99"), 1000, 0),
        *_figures(total.gap_s, ("p50", "p99"), 1000, 0),
        *_figures(total.e2e_s, ("p50", "p99"), 1, 1),
    )


def _figures(
    distribution: Distribution | None, names: Row, units_per_s: int, digits: int
) -> Iterable[str]:
    if distribution is None:
        return (NO_FIGURE,) * len(names)
    return (f"{getattr(distribution, name) * units_per_s:,.{digits}f}" for name in names)


def _kv(run: RunSummary) -> Row:
    return (
        run.policy,
        f"{run.bytes_out / 1e9:,.1f}",
        f"{run.bytes_in / 1e9:,.1f}",
        f"{run.total.rotations:,}",
        f"{run.stalls:,}",
        f"{run.total.recomputes:,}",
        share(run.total.cached_share),
        share(run.peak_hbm_share),
        share(run.peak_dram_share) if run.dram_blocks else NO_FIGURE,
    )


def _sweep_row(policy: str, point: CurvePoint) -> Row:
    return (
        f"{point.rate:g}",
        policy,
        str(point.seeds),
        share(point.ttft.mean),
        share(point.tbt.mean),
        share(point.joint.mean),
        share(point.gaps.mean),
        f"{point.output_tokens_per_s.mean:,.0f}",
    )
