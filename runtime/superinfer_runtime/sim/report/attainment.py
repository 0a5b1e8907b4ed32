"""How sure a simulated attainment is: a share of requests with a 95 % interval.

One run is a sample of what may happen. Requests that arrive together fare alike, so counting them
as independent claims too much: the run is cut into windows of arrival, each window counts as one
observation, and the share is a ratio of sums over them (Cochran, Sampling Techniques, 1977, 6.3).
Where windows say less than independent requests would, as when every request met its objectives,
Wilson's interval stands. The interval knows nothing of errors in the cost model.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.report.summary import judge
from superinfer_runtime.sim.request import SimRecord

WINDOWS = 20
T_95 = 2.093
"""Two-sided 95 % quantile of Student's t with `WINDOWS` - 1 degrees of freedom."""
Z_95 = 1.960
"""The normal distribution's."""


@dataclass(frozen=True, slots=True)
class Attainment:
    """Share of a class's requests that met TTFT and TBT; shares are 0..1."""

    requests: int
    share: float
    """1 of no requests: none missed its objectives."""
    low: float
    high: float

    def meets(self, target: float) -> bool:
        return self.share >= target

    def sure(self, target: float) -> bool:
        """Whether the whole interval lies on one side of ``target``."""
        return self.low >= target or self.high < target


def class_attainments(
    records: Sequence[SimRecord], classes: Iterable[SloClass]
) -> dict[str, Attainment]:
    """By class, the share of ``records`` that met both objectives; each class is there."""
    arrivals = [record.arrival_s for record in records]
    start_s = min(arrivals, default=0.0)
    window_s = (max(arrivals, default=0.0) - start_s) / WINDOWS
    counts = {slo_class.name: [(0, 0)] * WINDOWS for slo_class in classes}
    by_name = {slo_class.name: slo_class for slo_class in classes}
    for record in records:
        at = min(int((record.arrival_s - start_s) / window_s), WINDOWS - 1) if window_s else 0
        good, total = counts[record.slo_class][at]
        good += judge(record, by_name[record.slo_class]).joint
        counts[record.slo_class][at] = (good, total + 1)
    return {name: attainment(windows) for name, windows in counts.items()}


def attainment(windows: Sequence[tuple[int, int]]) -> Attainment:
    """Return the share of all and its interval from (good, all) of each of `WINDOWS` windows."""
    requests = sum(total for _, total in windows)
    if not requests:
        return Attainment(0, 1.0, 0.0, 1.0)
    share = sum(good for good, _ in windows) / requests
    squares = sum((good - share * total) ** 2 for good, total in windows)
    error = math.sqrt(squares * len(windows) / (len(windows) - 1)) / requests
    low, high = _wilson(share, requests)
    return Attainment(
        requests,
        share,
        max(min(low, share - T_95 * error), 0.0),
        min(max(high, share + T_95 * error), 1.0),
    )


def _wilson(share: float, requests: int) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share of independent requests."""
    shrink = 1 + Z_95**2 / requests
    middle = (share + Z_95**2 / (2 * requests)) / shrink
    spread = math.sqrt(share * (1 - share) / requests + (Z_95 / (2 * requests)) ** 2)
    half = Z_95 * spread / shrink
    # Rounding must not leave the share itself outside.
    return min(middle - half, share), max(middle + half, share)
