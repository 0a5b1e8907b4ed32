"""Timing one way to copy, by the GPU's own clock: shuffled blocks out, in, and both at once."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from superinfer_runtime.duplexkv.cuda.device import Device
from superinfer_runtime.duplexkv.cuda.link import CopyPath, Link, LinkShape
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout, Moves

PASSES = 4
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to copy."""

    path: CopyPath = CopyPath.DIRECT
    shape: LinkShape = field(default_factory=LinkShape)


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second; ``duplex`` is the sum of both directions at once."""

    out: float
    into: float
    duplex: float


def measure(
    device: Device,
    choice: Choice,
    regions: Addresses,
    layout: KvLayout,
    slab: int,
    num_blocks: int,
    *,
    passes: int = PASSES,
) -> Rates:
    """Move one half of the blocks out and the other half in, in an order without neighbours.

    Args:
        device: the GPU.
        choice: how.
        regions: addresses of block 0.
        layout: sizes of the regions.
        slab: address of ``num_blocks`` slots.
        num_blocks: at least 2. Their contents are lost.
        passes: jobs that are queued one behind the other.

    Raises:
        CopyError: there is no HBM for it, or the driver refuses to copy.
    """
    rng = np.random.default_rng(0)
    half = num_blocks // 2
    ways: dict[bool, tuple[Link, Moves]] = {}
    for out, first in ((True, 0), (False, half)):
        blocks = (rng.permutation(half) + first).astype(np.uint64)
        slots = (rng.permutation(half) + first).astype(np.uint64)
        addresses = np.uint64(slab) + slots * np.uint64(layout.block_bytes)
        moves = Moves(blocks, addresses, np.zeros(half, bool))
        link = Link(device, regions, layout, choice.shape, out=out)
        link.prepare(choice.path)
        ways[out] = link, moves
    num_bytes = passes * half * layout.block_bytes

    def seconds(*directions: bool) -> float:
        return _seconds(device, choice.path, [ways[out] for out in directions], passes)

    seconds(True, False)  # the first pass pays for cold caches
    return Rates(
        num_bytes / seconds(True), num_bytes / seconds(False), 2 * num_bytes / seconds(True, False)
    )


def _seconds(device: Device, path: CopyPath, ways: list[tuple[Link, Moves]], passes: int) -> float:
    """From the first start to the last end."""
    starts: list[Any] = []
    ends: list[Any] = []
    for _ in range(passes):
        for link, moves in ways:
            start, last = link.enqueue(moves, path, None)
            starts.append(start)
            ends += last
    deadline_s = time.monotonic() + TIMEOUT_S
    while not all(device.is_done(event) for event in ends):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the link did not finish a test of {path} copies")
        time.sleep(0.0002)
    return max(device.seconds_between(starts[0], end) for end in ends)
