"""How a policy fares as the rate rises: the runs of a sweep, averaged over their seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from superinfer_runtime.sim.report.summary import Summary
from superinfer_runtime.sim.report.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One policy at one rate (requests/s); attainments are shares, 0..1."""

    rate: float
    seeds: int
    ttft: Spread
    tbt: Spread
    joint: Spread
    gaps: Spread
    output_tokens_per_s: Spread


def curves(sweep: Sweep, scenario: str) -> dict[str, tuple[CurvePoint, ...]]:
    """By policy, in the sweep's order, the points by ascending rate."""
    runs: dict[str, dict[float, list[Summary]]] = {}
    for point in sweep.points:
        if point.scenario == scenario:
            by_rate = runs.setdefault(point.policy, {})
            by_rate.setdefault(point.rate, []).append(point.summary.total)
    return {
        policy: tuple(_curve_point(rate, by_rate[rate]) for rate in sorted(by_rate))
        for policy, by_rate in runs.items()
    }


def _curve_point(rate: float, summaries: list[Summary]) -> CurvePoint:
    def over_seeds(figure: Callable[[Summary], float]) -> Spread:
        return _spread(figure(summary) for summary in summaries)

    return CurvePoint(
        rate=rate,
        seeds=len(summaries),
        ttft=over_seeds(lambda summary: summary.ttft_attainment),
        tbt=over_seeds(lambda summary: summary.tbt_attainment),
        joint=over_seeds(lambda summary: summary.joint_attainment),
        gaps=over_seeds(lambda summary: summary.gap_attainment),
        output_tokens_per_s=over_seeds(lambda summary: summary.output_tokens_per_s),
    )


def _spread(figures: Iterable[float]) -> Spread:
    ordered = sorted(figures)
    mean = sum(ordered) / len(ordered)
    return Spread(min(max(mean, ordered[0]), ordered[-1]), ordered[0], ordered[-1])
