"""How far a simulated run is from a real one under the same load (pure).

Latencies and throughput are compared relatively, as a share of the real figure; attainments, which
may well be 0, by their difference in points. A figure that one of the two lacks is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from superinfer_runtime.bench.distribution import Distribution, percentile
from superinfer_runtime.bench.report import Summary


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both runs: seconds, tokens a second, or a share of 0..1."""

    real: float
    simulated: float
    is_share: bool = False

    @property
    def error(self) -> float:
        """Signed, positive where the simulation is above: points (0.1 is 10) or a relative error.

        A relative error of a real figure of 0 is 0 or infinite.
        """
        difference = self.simulated - self.real
        if self.is_share or difference == 0.0:
            return difference
        return difference / self.real if self.real else float("inf")


@dataclass(frozen=True, slots=True)
class Spread:
    """Absolute errors of one figure over several runs, and the mean of the signed ones."""

    mean: float
    p90: float
    bias: float
    is_share: bool


def compare(
    real: Summary, real_tokens_per_s: float, simulated: Summary, simulated_tokens_per_s: float
) -> dict[str, Comparison]:
    """Return the figures that both runs have, by name.

    Args:
        real: of a bench run.
        real_tokens_per_s: output tokens over the same time as in the simulation.
        simulated: of the same requests.
        simulated_tokens_per_s: see ``real_tokens_per_s``.
    """
    found: dict[str, Comparison] = {}
    for name, ours, theirs in (
        ("ttft", real.ttft_s, simulated.ttft_s),
        ("tbt", real.tbt_s, simulated.tbt_s),
    ):
        if ours is not None and theirs is not None:
            for part in _PARTS[name]:
                found[f"{part}_{name}_s"] = Comparison(_part(ours, part), _part(theirs, part))
    found["output_tokens_per_s"] = Comparison(real_tokens_per_s, simulated_tokens_per_s)
    for share in ("ttft_attainment", "tbt_attainment", "joint_attainment"):
        found[share] = Comparison(getattr(real, share), getattr(simulated, share), is_share=True)
    return found


def spreads(runs: Iterable[Mapping[str, Comparison]]) -> dict[str, Spread]:
    """Return the errors over ``runs`` of every figure that one of them has, by name."""
    by_name: dict[str, list[Comparison]] = {}
    for run in runs:
        for name, comparison in run.items():
            by_name.setdefault(name, []).append(comparison)
    return {name: _spread(comparisons) for name, comparisons in by_name.items()}


_PARTS = {"ttft": ("mean", "p50", "p90"), "tbt": ("mean", "p90")}


def _part(distribution: Distribution, part: str) -> float:
    value: float = getattr(distribution, part)
    return value


def _spread(comparisons: list[Comparison]) -> Spread:
    errors = [comparison.error for comparison in comparisons]
    absolute = sorted(map(abs, errors))
    return Spread(
        mean=sum(absolute) / len(absolute),
        p90=percentile(absolute, 0.9),
        bias=sum(errors) / len(errors),
        is_share=comparisons[0].is_share,
    )
