"""Long-tailed lengths and times for workloads that nobody recorded.

A lognormal is told by the mean one asks for and by the spread of its logarithm: the median is
``mean / exp(sigma^2 / 2)`` and P90 is ``exp(1.28 x sigma)`` medians.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from superinfer_runtime.bench.traces import TracedRequest


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Mean before the cut at ``most``, both in the unit of what is drawn (tokens, seconds)."""

    mean: float
    sigma: float
    most: float

    def __post_init__(self) -> None:
        if not (self.mean > 0 and self.sigma >= 0 and self.most > 0):
            raise ValueError("a lognormal needs a mean and a cut above 0 and a sigma of at least 0")

    def draw(self, rng: Random) -> float:
        median = self.mean / math.exp(self.sigma**2 / 2)
        return min(median * math.exp(self.sigma * rng.gauss(0.0, 1.0)), self.most)

    def draw_count(self, rng: Random) -> int:
        """A whole number, at least 1."""
        return max(1, round(self.draw(rng)))


@dataclass(frozen=True, slots=True)
class LognormalLengths:
    """Prompts and answers of independent lengths: a bench `Trace` without arrivals."""

    name: str
    input_tokens: Lognormal
    output_tokens: Lognormal
    timed: bool = False

    def requests(self, seed: int) -> Iterator[TracedRequest]:
        del seed  # nothing was recorded, so there is nothing to replay
        return iter(())

    def lengths(self, seed: int) -> Iterator[tuple[int, int]]:
        rng = Random(f"{seed}/lognormal lengths {self.name}")
        while True:
            yield self.input_tokens.draw_count(rng), self.output_tokens.draw_count(rng)
