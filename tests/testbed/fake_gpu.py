"""A GPU played on the CPU: streams run in any order that events allow, copies are real memmoves.

What is enqueued runs only when `step` is called, one operation of a stream chosen by the caller's
random numbers: a missing event shows as wrong bytes, as it would on a GPU, only more often.
"""

import ctypes
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from superinfer_runtime.duplexkv.cuda.batch_copy import CopyError
from superinfer_runtime.duplexkv.cuda.segment_kernel import unit_table
from superinfer_runtime.duplexkv.cuda.slabs import SlabError
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout


@dataclass(eq=False)
class Event:
    done: bool = False
    at_step: int = 0


@dataclass(eq=False)
class Stream:
    operations: deque[Callable[[], bool]] = field(default_factory=deque)


class FakeGpu:
    """See `superinfer_runtime.duplexkv.cuda.device.Device`."""

    has_kernel = True
    identity = "a fake GPU"

    def __init__(self, regions: Addresses, layout: KvLayout, rng: random.Random) -> None:
        self.compute = Stream()
        self.streams = [self.compute]
        self._named: dict[str, Stream] = {}
        self.refusal_rate = 0.0
        """Share of batches of copies that are refused, each with some of it under way already."""
        self.no_memory = False
        """No HBM is left."""
        self.frozen = False
        """A stuck GPU: nothing runs."""
        self.run_when_asked = False
        """Run operations whenever somebody asks for an event."""
        self._units = unit_table(regions, layout, stage_bytes=48)
        self._rng = rng
        self._steps = 0
        self._preferred: list[Stream] = []

    def step(self) -> bool:
        """Run one operation of a random stream; False if nothing can run.

        The same streams are preferred for a while, so that others fall far behind.
        """
        if self.frozen:
            return False
        if len(self._preferred) != len(self.streams) or self._rng.random() < 0.05:
            self._preferred = self._rng.sample(self.streams, len(self.streams))
        for stream in self._preferred:
            if stream.operations and stream.operations[0]():
                stream.operations.popleft()
                self._steps += 1
                return True
        return False

    def run(self) -> None:
        """Run until nothing can run."""
        while self.step():
            pass

    def use_in_thread(self) -> None:
        pass

    def stream(self, name: str) -> Stream:
        if name not in self._named:
            self._named[name] = Stream()
            self.streams.append(self._named[name])
        return self._named[name]

    def record(self, stream: Stream | None) -> Event:
        event = Event()

        def pass_it() -> bool:
            event.done, event.at_step = True, self._steps
            return True

        (stream or self.compute).operations.append(pass_it)
        return event

    def wait(self, stream: Stream, event: Event) -> None:
        stream.operations.append(lambda: event.done)

    def is_done(self, event: Event) -> bool:
        if self.run_when_asked:
            self.run()
        return event.done

    def seconds_between(self, start: Event, end: Event) -> float:
        return (end.at_step - start.at_step + 1) * 1e-3

    def copy(
        self, targets: Addresses, sources: Addresses, sizes: Addresses, stream: Stream
    ) -> None:
        pieces = list(zip(targets.tolist(), sources.tolist(), sizes.tolist(), strict=True))
        self._rng.shuffle(pieces)  # nothing orders the copies of a batch
        refused = self._rng.random() < self.refusal_rate
        taken = self._rng.randrange(len(pieces) + 1) if refused else len(pieces)
        for piece in pieces[:taken]:
            stream.operations.append(lambda piece=piece: _move(*piece))  # type: ignore[misc]
        if refused:
            raise CopyError("CUDA error 1 copying")

    def upload(self, rows: Addresses, stream: Stream) -> Addresses:
        return rows.copy()

    def copy_blocks(
        self, rows: Addresses, start: int, count: int, *, out: bool, num_sms: int, stream: Stream
    ) -> None:
        blocks, slots = np.split(rows, 2)
        for block, slot in zip(
            blocks[start : start + count].tolist(),
            slots[start : start + count].tolist(),
            strict=True,
        ):
            for address, stride, offset, size in self._units.tolist():
                hbm, piece = address + block * stride, slot + offset
                move = (piece, hbm, size) if out else (hbm, piece, size)
                stream.operations.append(lambda move=move: _move(*move))  # type: ignore[misc]

    def allocate(self, num_bytes: int) -> Any:
        if self.no_memory:
            raise CopyError("no HBM left for staging")
        return np.zeros(num_bytes, np.uint8)

    def address_of(self, memory: Any) -> int:
        return int(memory.ctypes.data)

    def compute_step(self, work: Callable[[], None]) -> None:
        """Enqueue a step of the model on the stream of compute."""

        def run() -> bool:
            work()
            return True

        self.compute.operations.append(run)


class FakeSlabs:
    """Slabs in plain memory; refuses when told to."""

    def __init__(self) -> None:
        self.refuse = False
        self.held: dict[int, Any] = {}

    def allocate(self, num_bytes: int, piece_bytes: int) -> int:
        if self.refuse:
            raise SlabError(f"cannot pin {num_bytes} bytes of DRAM: CUDA error 2")
        slab = np.zeros(num_bytes, np.uint8)
        self.held[slab.ctypes.data] = slab
        return int(slab.ctypes.data)

    def release(self, address: int) -> None:
        del self.held[address]


def _move(target: int, source: int, num_bytes: int) -> bool:
    ctypes.memmove(target, source, num_bytes)
    return True
