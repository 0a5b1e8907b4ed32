"""A sample told as value -> count, described without writing it out.

A long run has tens of millions of gaps between tokens but a few thousand different ones. The
figures are those of the sample written out: the same percentiles as `bench.distribution` gives it.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import overload

from superinfer_runtime.bench.distribution import Distribution, percentile


class WeightedSample(Sequence[float]):
    """The sorted sample, each value as often as it was counted."""

    def __init__(self, counts: Mapping[float, int]) -> None:
        self._values = sorted(value for value, count in counts.items() if count)
        self._counts = [counts[value] for value in self._values]
        self._ends = list(accumulate(self._counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._values[bisect_right(self._ends, index % len(self))]

    def describe(self) -> Distribution | None:
        """None for an empty sample."""
        if not self:
            return None
        mean = self._mean(self._values)
        variance = self._mean([(value - mean) ** 2 for value in self._values])
        return Distribution(
            mean,
            math.sqrt(variance),
            percentile(self, 0.5),
            percentile(self, 0.9),
            percentile(self, 0.99),
            self[-1],
        )

    def _mean(self, values: Sequence[float]) -> float:
        weighted = zip(values, self._counts, strict=True)
        return math.fsum(value * count for value, count in weighted) / len(self)
