"""Byte quantities as Kubernetes writes them: ``512Mi``, ``1.5Gi``, ``400G``, or a plain number."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

_FACTORS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_PATTERN = re.compile(r"^(\d+(?:\.\d+)?)(|[kMGT]|[KMGT]i)$")


def parse_bytes(value: object) -> int:
    """Return the number of bytes that ``value`` names.

    Raises:
        ValueError: not a non-negative number with one of the suffixes k M G T Ki Mi Gi Ti.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a byte quantity is a number or a string such as 512Mi")
    match = _PATTERN.match(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a byte quantity; write for example 512Mi or 4Gi")
    number, suffix = match.groups()
    return int(Decimal(number) * _FACTORS[suffix])


def format_bytes(size_bytes: int) -> str:
    """Write ``size_bytes`` with the largest binary suffix that keeps it exact or above one."""
    for suffix in ("Ti", "Gi", "Mi", "Ki"):
        factor = _FACTORS[suffix]
        if size_bytes >= factor:
            whole, rest = divmod(size_bytes, factor)
            return f"{whole}{suffix}" if rest == 0 else f"{size_bytes / factor:.1f}{suffix}"
    return str(size_bytes)


ByteQuantity = Annotated[int, BeforeValidator(parse_bytes)]
"""A pydantic field type: reads any byte quantity, holds bytes."""
