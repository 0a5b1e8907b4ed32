"""All that the copy engine asks of a GPU: streams, events, copies, few-SM kernels, staging memory.

A narrow interface, so that what the engine does with it (order, chunks, faults) is tested on
machines without a GPU. `TorchDevice` is the real one: PyTorch's streams, events and memory.
"""

from typing import Any, Protocol

import numpy as np
import torch

from superinfer_runtime.duplexkv.cuda.batch_copy import BatchCopy, CopyError
from superinfer_runtime.duplexkv.cuda.segment_kernel import (
    KernelShape,
    SegmentKernel,
    driver_version,
    new_stream,
    unit_table,
)
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout

HOPPER = (9, 0)
"""First compute capability with the bulk copy unit that the kernel drives."""


class Device(Protocol):
    """One GPU. Streams and events are the device's own objects; times are seconds."""

    @property
    def identity(self) -> str:
        """The same for the same hardware and driver."""
        ...

    @property
    def has_kernel(self) -> bool:
        """Whether `copy_blocks` works here."""
        ...

    def use_in_thread(self) -> None:
        """Make this the calling thread's GPU."""
        ...

    def stream(self, name: str) -> Any:
        """Return the stream of that name, of the lowest priority; the same one each time.

        Which copy engine a stream gets is settled when it is made: what was measured on a stream
        holds for that stream only.
        """
        ...

    def record(self, stream: Any | None) -> Any:
        """Return an event at the end of ``stream``; None: the caller's stream of compute."""
        ...

    def wait(self, stream: Any, event: Any) -> None:
        """Let ``stream`` go on only after ``event``."""
        ...

    def is_done(self, event: Any) -> bool:
        """Whether the GPU has passed ``event``."""
        ...

    def seconds_between(self, start: Any, end: Any) -> float:
        """Time between two events that are done."""
        ...

    def copy(self, targets: Addresses, sources: Addresses, sizes: Addresses, stream: Any) -> None:
        """Copy by the GPU's copy engines. Raises `CopyError`."""
        ...

    def upload(self, rows: Addresses, stream: Any) -> Any:
        """Return a table on the GPU, there once ``stream`` gets to it."""
        ...

    def copy_blocks(
        self,
        rows: Any,
        start: int,
        count: int,
        *,
        out: bool,
        num_sms: int,
        stream: Any,
    ) -> None:
        """Copy HBM blocks to slots (``out``) or back by a few SMs.

        ``rows``: a table from `upload`, block numbers before slot addresses; of each, ``count``
        are taken from ``start`` on. Raises `KernelError`.
        """
        ...

    def allocate(self, num_bytes: int) -> Any:
        """Return that much HBM, kept while the object lives. Raises `CopyError`."""
        ...

    def address_of(self, memory: Any) -> int:
        """Return the address of what `allocate` returned."""
        ...


class TorchDevice:
    """See `Device`."""

    def __init__(
        self, index: int, regions: Addresses, layout: KvLayout, shape: KernelShape
    ) -> None:
        self._device = torch.device("cuda", index)
        self._batch = BatchCopy()
        self._streams: dict[str, torch.cuda.Stream] = {}
        self._kernel: SegmentKernel | None = None
        capability = torch.cuda.get_device_capability(self._device)
        if capability >= HOPPER:
            self.use_in_thread()
            self._kernel = SegmentKernel("sm_{}{}".format(*capability), shape)
            table = unit_table(regions, layout, shape.stage_bytes)
            self._num_units = len(table)
            self._units = self.upload(table.ravel(), torch.cuda.current_stream())

    @property
    def identity(self) -> str:
        gpu = torch.cuda.get_device_properties(self._device)
        return f"{gpu.name}, {torch.cuda.device_count()} GPUs, driver {driver_version()}"

    @property
    def has_kernel(self) -> bool:
        return self._kernel is not None

    def use_in_thread(self) -> None:
        torch.cuda.set_device(self._device)

    def stream(self, name: str) -> torch.cuda.Stream:
        if name not in self._streams:
            # Not from PyTorch's pool, which hands the same few streams to everybody.
            handle = new_stream()
            self._streams[name] = torch.cuda.ExternalStream(handle, device=self._device)
        return self._streams[name]

    def record(self, stream: torch.cuda.Stream | None) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(stream or torch.cuda.current_stream(self._device))
        return event

    def wait(self, stream: torch.cuda.Stream, event: torch.cuda.Event) -> None:
        stream.wait_event(event)

    def is_done(self, event: torch.cuda.Event) -> bool:
        return bool(event.query())

    def seconds_between(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return float(start.elapsed_time(end)) / 1000.0

    def copy(
        self,
        targets: Addresses,
        sources: Addresses,
        sizes: Addresses,
        stream: torch.cuda.Stream,
    ) -> None:
        self._batch.copy(targets, sources, sizes, stream.cuda_stream)

    def upload(self, rows: Addresses, stream: torch.cuda.Stream) -> torch.Tensor:
        with torch.cuda.stream(stream):
            host = torch.from_numpy(rows.view(np.int64)).pin_memory()
            return host.to(self._device, non_blocking=True)

    def copy_blocks(
        self,
        rows: torch.Tensor,
        start: int,
        count: int,
        *,
        out: bool,
        num_sms: int,
        stream: torch.cuda.Stream,
    ) -> None:
        assert self._kernel is not None
        blocks = rows.data_ptr() + 8 * start
        self._kernel.launch(
            out=out,
            blocks=blocks,
            slots=blocks + 8 * (len(rows) // 2),
            num_blocks=count,
            units=self._units.data_ptr(),
            num_units=self._num_units,
            num_sms=num_sms,
            stream=stream.cuda_stream,
        )

    def allocate(self, num_bytes: int) -> torch.Tensor:
        try:
            return torch.empty(num_bytes, dtype=torch.uint8, device=self._device)
        except torch.cuda.OutOfMemoryError as failure:
            raise CopyError(f"no {num_bytes} bytes of HBM left for staging") from failure

    def address_of(self, memory: torch.Tensor) -> int:
        return int(memory.data_ptr())
