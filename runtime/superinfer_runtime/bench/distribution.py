"""Mean, spread and percentiles of a sample; linear between ranks, as NumPy's default."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary of a sample, in the sample's unit (seconds here)."""

    mean: float
    std: float
    p50: float
    p90: float
    p99: float
    max: float


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of a sorted, non-empty sample lies."""
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    between = ordered[low] + (ordered[high] - ordered[low]) * (rank - low)
    return min(between, ordered[high])  # rounding must not lift it above its neighbour


def describe(sample: Iterable[float]) -> Distribution | None:
    """None for an empty sample: it has no mean, and 0 would look like a very fast server."""
    ordered = sorted(sample)
    if not ordered:
        return None
    mean = math.fsum(ordered) / len(ordered)
    variance = math.fsum((value - mean) ** 2 for value in ordered) / len(ordered)
    return Distribution(
        mean,
        math.sqrt(variance),
        percentile(ordered, 0.5),
        percentile(ordered, 0.9),
        percentile(ordered, 0.99),
        ordered[-1],
    )
