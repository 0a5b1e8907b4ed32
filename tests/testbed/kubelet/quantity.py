"""Kubernetes quantities as exact numbers: ``100m``, ``2``, ``512Mi``, ``1e3``."""

import re
from decimal import ROUND_CEILING, Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_PATTERN = re.compile(r"^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]?|[KMGTPE]i)$")


def parse(quantity: str | int) -> Decimal:
    match = _PATTERN.match(str(quantity))
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity; write for example 500m or 4Gi")
    return Decimal(match[1]) * _SUFFIXES[match[2]]


def in_units(quantity: str | int, divisor: str | int = 1) -> int:
    """Return how many ``divisor`` fit the quantity, rounded up, as resourceFieldRef gives it."""
    return int((parse(quantity) / parse(divisor)).to_integral_value(ROUND_CEILING))
