"""The driver's copy calls: each signature is called as cuda.h declares it."""

import ctypes
from typing import Any

import numpy as np
import pytest
from superinfer_runtime.duplexkv.cuda.batch_copy import BatchCopy, CopyError

STREAM = 7


class Driver:
    """libcuda as far as it is used: copies at once, in host memory."""

    def __init__(self, *batched: str, refuse_batches: bool = False) -> None:
        self.calls: list[str] = []
        self.refuse_batches = refuse_batches
        self.refused_bytes = 0
        if "v2" in batched:
            self.cuMemcpyBatchAsync_v2 = lambda *arguments: self._batch("v2", *arguments)
        if "v1" in batched:
            self.cuMemcpyBatchAsync = self._batch_with_fail_index

    def cuMemcpyAsync(self, target: Any, source: Any, size: Any, stream: Any) -> int:
        assert stream.value == STREAM
        self.calls.append("single")
        if size.value == self.refused_bytes:
            return 1
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def _batch_with_fail_index(self, *arguments: Any) -> int:
        *same, fail_index, stream = arguments
        assert fail_index is not None
        return self._batch("v1", *same, stream)

    def _batch(
        self,
        name: str,
        targets: Any,
        sources: Any,
        sizes: Any,
        count: Any,
        attributes: Any,
        first_index: Any,
        num_attributes: Any,
        stream: Any,
    ) -> int:
        self.calls.append(name)
        assert stream.value == STREAM
        assert num_attributes.value == 1
        if self.refuse_batches:
            return 1
        arrays = [
            (ctypes.c_uint64 * count.value).from_address(a.value) for a in (targets, sources, sizes)
        ]
        for target, source, size in zip(*arrays, strict=True):
            ctypes.memmove(target, source, size)
        return 0


def copy(driver: Driver, num_pieces: int = 3, step: int = 2) -> tuple[bytes, bytes]:
    """Copy every ``step``-th piece of a buffer; return what arrived and what should have."""
    source = np.random.default_rng(1).integers(0, 256, (num_pieces * step, 16), dtype=np.uint8)
    target = np.zeros_like(source)
    offsets = np.arange(num_pieces * step, dtype=np.uint64) * np.uint64(16)
    sizes = np.full(num_pieces * step, 16, np.uint64)
    BatchCopy(driver).copy(
        (np.uint64(target.ctypes.data) + offsets)[::step],
        (np.uint64(source.ctypes.data) + offsets)[::step],
        sizes[::step],
        STREAM,
    )
    return target[::step].tobytes(), source[::step].tobytes()


@pytest.mark.parametrize(
    ("symbols", "call"), [(("v1", "v2"), "v2"), (("v1",), "v1"), ((), "single")]
)
def test_the_newest_call_that_the_driver_has_is_used(symbols: tuple[str, ...], call: str) -> None:
    driver = Driver(*symbols)
    got, wanted = copy(driver)
    assert got == wanted
    assert set(driver.calls) == {call}


def test_a_refused_batch_is_copied_one_by_one() -> None:
    driver = Driver("v2", refuse_batches=True)
    got, wanted = copy(driver)
    assert got == wanted
    assert driver.calls == ["v2", "single", "single", "single"]


def test_a_copy_that_nobody_takes_is_an_error() -> None:
    driver = Driver("v2", refuse_batches=True)
    driver.refused_bytes = 16
    with pytest.raises(CopyError, match="CUDA error 1"):
        copy(driver)


def test_nothing_to_copy_calls_nothing() -> None:
    driver = Driver("v2")
    copy(driver, num_pieces=0)
    assert driver.calls == []
