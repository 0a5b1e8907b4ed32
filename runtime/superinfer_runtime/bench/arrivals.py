"""Arrival processes: endless streams of arrival times, in seconds from the start of the run.

Every stream is non-decreasing and has the long-run rate asked for; only the spread of the gaps
differs. `burstiness` is the Gamma distribution's shape, as in `vllm bench serve`: 1 is Poisson,
smaller is burstier (coefficient of variation 1/sqrt(burstiness)), larger is more even.
"""

from collections.abc import Iterator
from enum import StrEnum
from itertools import count
from random import Random


class ArrivalProcess(StrEnum):
    """How the gaps between arrivals are spread."""

    POISSON = "poisson"
    GAMMA = "gamma"
    CONSTANT = "constant"


def constant(rate_per_s: float) -> Iterator[float]:
    """One arrival every 1/rate seconds, the first at once."""
    for index in count():
        yield index / rate_per_s


def gamma(rate_per_s: float, burstiness: float, rng: Random) -> Iterator[float]:
    """Independent Gamma gaps of mean 1/rate; exponential gaps (Poisson) at burstiness 1."""
    scale_s = 1.0 / (rate_per_s * burstiness)
    now_s = 0.0
    while True:
        now_s += rng.gammavariate(burstiness, scale_s)
        yield now_s


def arrivals(
    process: ArrivalProcess, rate_per_s: float, burstiness: float, rng: Random
) -> Iterator[float]:
    """The process by name; `burstiness` matters to GAMMA alone."""
    match process:
        case ArrivalProcess.CONSTANT:
            return constant(rate_per_s)
        case ArrivalProcess.POISSON:
            return gamma(rate_per_s, 1.0, rng)
        case ArrivalProcess.GAMMA:
            return gamma(rate_per_s, burstiness, rng)
