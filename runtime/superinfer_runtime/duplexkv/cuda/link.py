"""One direction of the link on a GPU: how the copies of one job are enqueued.

Three ways, each asynchronous and ordered by events alone:

* *direct*: the copy engine moves each segment: best where segments are large;
* *staged*: a few SMs gather a chunk of blocks into HBM that is contiguous, and the copy engine
  moves whole slots from there (or the other way round), so that the link sees large copies however
  small the segments are. Two chunk buffers: one is packed while the other is on the link;
* *kernel*: a few SMs copy straight between HBM and slots.

The link's stream and the packing stream are both of low priority.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from superinfer_runtime.duplexkv.cuda.device import Device
from superinfer_runtime.duplexkv.planner import (
    Addresses,
    KvLayout,
    Moves,
    Segments,
    block_segments,
    merged,
)


class CopyPath(StrEnum):
    """See the module's text."""

    DIRECT = "direct"
    STAGED = "staged"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class LinkShape:
    """How much of the GPU one direction uses."""

    num_sms: int = 8
    num_copy_streams: int = 1
    """More than one only where a link has several copy engines (NVLink)."""
    chunk_bytes: int = 32 << 20
    """Of a staging buffer; there are two."""


class Link:
    """Enqueues one direction's copies. Used by one thread."""

    def __init__(
        self, device: Device, regions: Addresses, layout: KvLayout, shape: LinkShape, *, out: bool
    ) -> None:
        self._device = device
        self._regions = regions
        self._layout = layout
        self._shape = shape
        self._out = out
        self._chunk_blocks = max(shape.chunk_bytes // layout.block_bytes, 1)
        way = "out" if out else "in"
        self._copying = [device.stream(f"{way} {n}") for n in range(shape.num_copy_streams)]
        self._packing = device.stream(f"{way} packing")
        self._buffers: list[Any] = []
        self._buffer_free: list[list[Any]] = [[], []]
        self._next_buffer = 0

    def enqueue(self, moves: Moves, path: CopyPath, after: Any | None) -> tuple[Any, list[Any]]:
        """Enqueue a job's copies; return the event at its start and those at its end.

        ``after``: an event to wait for first. Raises `CopyError` or `KernelError`: then call
        `give_up`, for what was enqueued until then runs on.
        """
        if after is not None:
            for stream in (*self._copying, self._packing):
                self._device.wait(stream, after)
        first = self._packing if self._out and path is CopyPath.STAGED else self._copying[0]
        start = self._device.record(first)
        if path is CopyPath.STAGED:
            return start, self._staged(moves)
        if path is CopyPath.KERNEL:
            rows = self._device.upload(np.concatenate((moves.blocks, moves.slots)), first)
            self._copy_blocks(rows, 0, len(moves), first)
            return start, [self._device.record(first)]
        return start, self._copy(block_segments(moves, self._regions, self._layout))

    def prepare(self, path: CopyPath) -> None:
        """Take the HBM that ``path`` needs. Raises `CopyError` if there is none."""
        if path is CopyPath.STAGED:
            self._staging()

    def give_up(self) -> list[Any]:
        """After a failure: return events after all that was enqueued; later jobs wait for them."""
        ends = [self._device.record(stream) for stream in (*self._copying, self._packing)]
        self._buffer_free = [ends, ends]
        return ends

    def _staged(self, moves: Moves) -> list[Any]:
        """Pack and copy chunk by chunk, two at a time."""
        size = np.uint64(self._layout.block_bytes)
        numbers = np.arange(len(moves))
        in_chunk = numbers % self._chunk_blocks
        buffer_of = (numbers // self._chunk_blocks + self._next_buffer) % 2
        staged = np.array(self._staging(), np.uint64)[buffer_of] + in_chunk.astype(np.uint64) * size
        rows = self._device.upload(np.concatenate((moves.blocks, staged)), self._packing)
        starts = moves.piece_starts | (in_chunk == 0)
        slots = merged(staged, moves.slots, np.full(len(moves), size), starts)
        firsts = np.searchsorted(slots.first_piece, numbers[:: self._chunk_blocks])
        ends: list[Any] = []
        for chunk, start in enumerate(numbers[:: self._chunk_blocks].tolist()):
            last = firsts[chunk + 1] if chunk + 1 < len(firsts) else len(slots.sizes)
            count = min(self._chunk_blocks, len(moves) - start)
            ends = self._chunk(rows, start, count, slots.part(firsts[chunk], last))
        return ends

    def _chunk(self, rows: Any, start: int, count: int, slots: Segments) -> list[Any]:
        """Gather, then copy (out); copy, then scatter (in). Returns the chunk's last events."""
        free = self._buffer_free[self._next_buffer]
        if self._out:
            self._wait([self._packing], free)
            self._copy_blocks(rows, start, count, self._packing)
            self._wait(self._copying, [self._device.record(self._packing)])
            free = self._copy(slots)
        else:
            self._wait(self._copying, free)
            self._wait([self._packing], self._copy(slots))
            self._copy_blocks(rows, start, count, self._packing)
            free = [self._device.record(self._packing)]
        self._buffer_free[self._next_buffer] = free
        self._next_buffer = 1 - self._next_buffer
        return free

    def _staging(self) -> list[int]:
        """Addresses of the two chunk buffers."""
        if not self._buffers:
            num_bytes = self._chunk_blocks * self._layout.block_bytes
            self._buffers = [self._device.allocate(num_bytes) for _ in self._buffer_free]
        return [self._device.address_of(buffer) for buffer in self._buffers]

    def _wait(self, streams: list[Any], events: list[Any]) -> None:
        for stream in streams:
            for event in events:
                self._device.wait(stream, event)

    def _copy(self, segments: Segments) -> list[Any]:
        """Let the copy engines move ``segments``; return an event for each stream used."""
        targets, sources = segments.slot, segments.hbm
        if not self._out:
            targets, sources = sources, targets
        ends: list[Any] = []
        for number, stream in enumerate(self._copying):
            share = slice(number, None, len(self._copying))
            self._device.copy(targets[share], sources[share], segments.sizes[share], stream)
            ends.append(self._device.record(stream))
        return ends

    def _copy_blocks(self, rows: Any, start: int, count: int, stream: Any) -> None:
        self._device.copy_blocks(
            rows, start, count, out=self._out, num_sms=self._shape.num_sms, stream=stream
        )
