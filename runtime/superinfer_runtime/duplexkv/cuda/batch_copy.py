"""Many copies in one call of the CUDA driver: `cuMemcpyBatchAsync`, which drives the copy engines.

CUDA 13 changed its signature (``_v2``: no index of the failing copy), CUDA 12.8 brought the first
one; older drivers get one `cuMemcpyAsync` a copy, and so does a batch that the driver refuses, so
that the copies at fault are the only ones to fail. Pointers and sizes go in as arrays: a list of
them converted one by one would take longer than the copies.
"""

import ctypes
from typing import Any, Protocol

import numpy as np

from superinfer_runtime.duplexkv.planner import Addresses

_SRC_ACCESS_ORDER_STREAM = 1


class _Location(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint), ("id", ctypes.c_int)]


class _Attributes(ctypes.Structure):
    """``CUmemcpyAttributes`` of cuda.h."""

    _fields_ = [
        ("src_access_order", ctypes.c_uint),
        ("src_hint", _Location),
        ("dst_hint", _Location),
        ("flags", ctypes.c_uint),
    ]


class CopyError(Exception):
    """The driver refused a copy."""


class DriverLibrary(Protocol):
    """The symbols of libcuda that are used; older drivers lack the batched ones."""

    cuMemcpyAsync: Any


class BatchCopy:
    """Copies on a stream, on whichever call the driver has."""

    def __init__(self, library: DriverLibrary | None = None) -> None:
        self._library = library or ctypes.CDLL("libcuda.so.1")
        self._has_fail_index = not hasattr(self._library, "cuMemcpyBatchAsync_v2")
        name = "cuMemcpyBatchAsync" if self._has_fail_index else "cuMemcpyBatchAsync_v2"
        self._batch = getattr(self._library, name, None)
        # The source is read in stream order: after the events that the stream waited for.
        self._attributes = _Attributes(src_access_order=_SRC_ACCESS_ORDER_STREAM)
        self._first_index = ctypes.c_size_t(0)

    @property
    def is_batched(self) -> bool:
        return self._batch is not None

    def copy(self, targets: Addresses, sources: Addresses, sizes: Addresses, stream: int) -> None:
        """Enqueue all copies; nothing orders them among each other.

        Args:
            targets: addresses, u64.
            sources: addresses, u64.
            sizes: bytes of each copy, u64.
            stream: handle of a stream of the current context (not the default stream).

        Raises:
            CopyError: a copy was refused; others of the batch may have been enqueued.
        """
        if not len(targets):
            return
        targets, sources, sizes = map(np.ascontiguousarray, (targets, sources, sizes))
        if (
            self._batch is not None
            and self._batch(*self._batch_arguments(targets, sources, sizes, stream)) == 0
        ):
            return
        for target, source, size in zip(
            targets.tolist(), sources.tolist(), sizes.tolist(), strict=True
        ):
            error = self._library.cuMemcpyAsync(
                ctypes.c_uint64(target),
                ctypes.c_uint64(source),
                ctypes.c_size_t(size),
                ctypes.c_void_p(stream),
            )
            if error:
                raise CopyError(f"CUDA error {error} copying {size} bytes")

    def _batch_arguments(
        self, targets: Addresses, sources: Addresses, sizes: Addresses, stream: int
    ) -> tuple[Any, ...]:
        arguments: list[Any] = [
            ctypes.c_void_p(targets.ctypes.data),
            ctypes.c_void_p(sources.ctypes.data),
            ctypes.c_void_p(sizes.ctypes.data),
            ctypes.c_size_t(len(targets)),
            ctypes.byref(self._attributes),
            ctypes.byref(self._first_index),
            ctypes.c_size_t(1),
        ]
        if self._has_fail_index:
            arguments.append(ctypes.byref(ctypes.c_size_t(0)))
        arguments.append(ctypes.c_void_p(stream))
        return tuple(arguments)
