"""The highest request rate at which an objective still holds, in as few simulations as can be.

Attainment falls with the rate in expectation but is noisy, so there may be several crossings; one
of them is found. Search starts from the low end: runs in overload are the long ones.
"""

import math
from collections.abc import Callable


def max_rate(
    attained: Callable[[float], float], goal: float, low: float, high: float, tolerance: float
) -> float:
    """A rate at which ``attained`` was seen to reach ``goal``, and beyond which it was not.

    Returns a rate ``r`` that was tried and reached the goal, where another, at most ``tolerance``
    above it, was tried and missed it. Two ends: ``high`` itself if no tried rate missed (the truth
    may lie above), and 0 if ``low`` missed already (the truth may lie between). No rate is tried
    twice; there are at most ``2 + log2(high / low) + log2(high / tolerance)`` trials.

    Args:
        attained: share of requests, 0..1, that keep their objectives at a rate in requests/s.
        goal: the share to reach.
        low, high: bounds of the rates tried, requests/s.
        tolerance: requests/s.

    Raises:
        ValueError: not ``0 < low < high``, or a tolerance too fine for floating point.
    """
    if not 0 < low < high:
        raise ValueError(f"rates must be 0 < low < high, not {low:g} and {high:g}")
    if not tolerance > math.ulp(high):
        raise ValueError(f"a tolerance of {tolerance:g} req/s cannot be reached")
    reached, rate = 0.0, low
    while attained(rate) >= goal:
        if rate == high:
            return high
        reached, rate = rate, min(2 * rate, high)
    if not reached:
        return 0.0
    missed = rate
    while missed - reached > tolerance:
        rate = (reached + missed) / 2
        if attained(rate) >= goal:
            reached = rate
        else:
            missed = rate
    return reached
