"""What the link between HBM and DRAM can do, as numbers that `SimulatedCopyEngine` plays.

Rates are those of contiguous copies; small segments reach a share of them. As on a GPU there are
two ways to copy: *direct*, whose share depends on the size of the segments, and *staged*, where a
few SMs pack whole blocks first, so that the share does not.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import StrEnum
from math import log
from typing import Self


class CopyPath(StrEnum):
    """See the module's text."""

    DIRECT = "direct"
    STAGED = "staged"


Curve = tuple[tuple[int, float], ...]
"""Rising (bytes of a segment, share of the contiguous rate)."""

NEARLY = 0.97
"""Copy engines alone are preferred from this share of the staged rate on, as on a GPU."""


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One GPU's link to its DRAM. Rates in bytes a second."""

    out_bytes_per_s: float
    """HBM to DRAM, alone."""
    in_bytes_per_s: float
    """DRAM to HBM, alone."""
    duplex_bytes_per_s: float
    """Both at once, summed."""
    one_way_shares: Curve
    """Direct copies in one direction, alone."""
    duplex_shares: Curve
    """Direct copies in both at once."""
    staged_share: float | None
    """Of staged copies; None: they are not to be had."""
    fixed_s: float
    """From handing a job over to its first byte, the acknowledgement's delay included."""
    pin_s_per_byte: float
    """Pinning a slab."""
    decode_slowdown: float
    """How much longer a decode step takes while both directions are busy: 0.1 is a tenth."""

    def times(self, factor: float) -> Self:
        """Return the link with its rates multiplied: that of so many GPUs side by side, say."""
        return replace(
            self,
            out_bytes_per_s=factor * self.out_bytes_per_s,
            in_bytes_per_s=factor * self.in_bytes_per_s,
            duplex_bytes_per_s=factor * self.duplex_bytes_per_s,
            pin_s_per_byte=self.pin_s_per_byte / factor,
        )

    def path(self, segment_bytes: int) -> CopyPath:
        """Return the way that calibration chooses for blocks cut into such segments."""
        staged = self.staged_share
        if staged is None or share_at(self.duplex_shares, segment_bytes) >= NEARLY * staged:
            return CopyPath.DIRECT
        return CopyPath.STAGED

    def shares(self, path: CopyPath, segment_bytes: float) -> tuple[float, float]:
        """Return the shares of the one-way and of the duplex rate that such segments reach."""
        if path is CopyPath.STAGED and self.staged_share is not None:
            return self.staged_share, self.staged_share
        return (
            share_at(self.one_way_shares, segment_bytes),
            share_at(self.duplex_shares, segment_bytes),
        )


def share_at(curve: Curve, segment_bytes: float) -> float:
    """Read a curve, straight between points over the logarithm of the size.

    Below its first point a segment takes as long as one of that size.
    """
    first_bytes, first_share = curve[0]
    if segment_bytes <= first_bytes:
        return first_share * segment_bytes / first_bytes
    last_bytes, last_share = curve[-1]
    if segment_bytes >= last_bytes:
        return last_share
    index = bisect_right(curve, (segment_bytes, 2.0))
    (low_bytes, low), (high_bytes, high) = curve[index - 1], curve[index]
    return low + (high - low) * log(segment_bytes / low_bytes) / log(high_bytes / low_bytes)
