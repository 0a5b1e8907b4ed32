"""Exponential smoothing of measurements: recent enough to follow, steady enough to act on."""

_WEIGHT_OF_NEW = 0.1


def smoothed(old: float | None, new: float) -> float:
    """Return the average after one more measurement; the first one counts in full."""
    return new if old is None else old + _WEIGHT_OF_NEW * (new - old)
