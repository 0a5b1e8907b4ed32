"""Measuring the link at start: which way to copy is fastest for this layout on this machine.

Every candidate moves shuffled blocks out, in, and both ways at once, a few milliseconds each. The
fastest in duplex wins; the copy engines alone win over ways that take SMs if they are nearly as
fast. The results are kept in the user's cache folder and used again on the same hardware, unless
HBM was too full to try every candidate.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from superinfer_runtime.duplexkv.copy_engine import LinkCalibration
from superinfer_runtime.duplexkv.cuda.batch_copy import CopyError
from superinfer_runtime.duplexkv.cuda.device import Device
from superinfer_runtime.duplexkv.cuda.link import CopyPath, LinkShape
from superinfer_runtime.duplexkv.cuda.rates import Choice, Rates, measure
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout

BYTES_PER_DIRECTION = 128 << 20
NEARLY = 0.97
"""Copy engines alone are preferred from this share of the best rate on."""
SWEEP_BYTES = tuple(16 << (10 + power) for power in range(9))


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The way chosen and what the link does with it."""

    choice: Choice
    link: LinkCalibration


HOST_CANDIDATES = (
    Choice(CopyPath.DIRECT),
    Choice(CopyPath.STAGED),
    Choice(CopyPath.KERNEL, LinkShape(num_sms=4)),
)
PEER_CANDIDATES = (
    Choice(CopyPath.DIRECT),
    Choice(CopyPath.DIRECT, LinkShape(num_copy_streams=2)),
    Choice(CopyPath.DIRECT, LinkShape(num_copy_streams=4)),
    Choice(CopyPath.STAGED, LinkShape(num_copy_streams=2, chunk_bytes=128 << 20)),
    Choice(CopyPath.STAGED, LinkShape(num_copy_streams=4, chunk_bytes=128 << 20)),
    Choice(CopyPath.KERNEL),
)


def choose(measured: Sequence[tuple[Choice, Rates]]) -> tuple[Choice, Rates]:
    """Return the fastest in duplex, or copy engines alone if they are nearly as fast."""
    best = max(measured, key=_duplex)
    direct = [entry for entry in measured if entry[0].path is CopyPath.DIRECT]
    fallback = max(direct, key=_duplex)
    return fallback if fallback[1].duplex >= NEARLY * best[1].duplex else best


def _duplex(entry: tuple[Choice, Rates]) -> float:
    return entry[1].duplex


class Calibrator:
    """Measures on KV memory that nobody uses yet, and one slab."""

    def __init__(
        self,
        device: Device,
        regions: Addresses,
        layout: KvLayout,
        candidates: Sequence[Choice],
        cache_dir: Path,
    ) -> None:
        self._device = device
        self._regions = regions
        self._layout = layout
        self._candidates = [
            choice for choice in candidates if choice.path is CopyPath.DIRECT or device.has_kernel
        ]
        known = [device.identity, layout.segment_bytes, [repr(c) for c in self._candidates]]
        key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
        self._cached = cache_dir / f"{key}.json"

    @property
    def useful_slots(self) -> int:
        """Slots to measure with, if there are as many."""
        return -(-2 * BYTES_PER_DIRECTION // self._layout.block_bytes)

    def cached(self) -> Calibrated | None:
        """Return the result of an earlier start on the same hardware."""
        try:
            return _ADAPTER.validate_json(self._cached.read_bytes())
        except (OSError, ValidationError):
            return None

    def measure(self, slab: int, num_slots: int, num_blocks: int) -> Calibrated:
        """Measure with a slab of ``num_slots`` (at least 2) and at least as many blocks."""
        measured: list[tuple[Choice, Rates]] = []
        for choice in self._candidates:
            try:
                rates = measure(self._device, choice, self._regions, self._layout, slab, num_slots)
            except CopyError:
                if choice.path is CopyPath.DIRECT:
                    raise
                continue  # it takes HBM, and there is none left
            measured.append((choice, rates))
        choice, rates = choose(measured)
        packed = [rates.duplex for c, rates in measured if c.path is not CopyPath.DIRECT]
        crossover = self._crossover(slab, num_slots, num_blocks, max(packed)) if packed else None
        calibrated = Calibrated(
            choice, LinkCalibration(rates.out, rates.into, rates.duplex, crossover)
        )
        if len(measured) == len(self._candidates):
            self._save(calibrated)
        return calibrated

    def _crossover(
        self, slab: int, num_slots: int, num_blocks: int, packed_duplex: float
    ) -> int | None:
        """Smallest segment that the copy engines alone move nearly as fast as packed ones."""
        direct = [c for c in self._candidates if c.path is CopyPath.DIRECT]
        # The first region as plain memory.
        room = min(num_blocks * self._layout.segment_bytes[0], num_slots * self._layout.block_bytes)
        for segment_bytes in SWEEP_BYTES:
            count = room // segment_bytes
            if count < 2:
                break
            layout = KvLayout((segment_bytes,))
            best = max(
                measure(self._device, choice, self._regions[:1], layout, slab, count).duplex
                for choice in direct
            )
            if best >= NEARLY * packed_duplex:
                return segment_bytes
        return None

    def _save(self, calibrated: Calibrated) -> None:
        """Best effort: a read-only home only means to measure again."""
        part = self._cached.with_suffix(f".{os.getpid()}")
        try:
            self._cached.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(_ADAPTER.dump_json(calibrated))
            part.replace(self._cached)
        except OSError:
            return


_ADAPTER = TypeAdapter(Calibrated)
