"""The few-SM copy kernel (`segment_kernel.cu`): many small segments in one launch.

A block of KV is cut into *units*: for each region, pieces of at most one stage. The table of units
is the layout's and lives on the GPU; a launch brings only block numbers and slot addresses. Built
at start by NVRTC with NVIDIA's own bindings, which PyTorch brings along.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cuda.bindings import driver, nvrtc

from superinfer_runtime.duplexkv.planner import KvLayout


@dataclass(frozen=True, slots=True)
class KernelShape:
    """How one SM's shared memory is used; see `segment_kernel.cu`."""

    warps: int = 4
    stages: int = 3
    stage_bytes: int = 16 * 1024
    pending: int = 1

    @property
    def shared_bytes(self) -> int:
        return self.warps * self.stages * self.stage_bytes


_WARP = 32
_POINTER = ctypes.c_void_p
_U32 = ctypes.c_uint32


class KernelError(Exception):
    """The kernel could not be built or launched."""


def unit_table(
    addresses: npt.NDArray[np.uint64], layout: KvLayout, stage_bytes: int
) -> npt.NDArray[np.uint64]:
    """Return one row a unit: address in block 0, block stride, offset in the slot, bytes."""
    rows = []
    regions = zip(addresses.tolist(), layout.segment_bytes, layout.slot_offsets, strict=True)
    for address, segment_bytes, slot_offset in regions:
        for start in range(0, segment_bytes, stage_bytes):
            size = min(stage_bytes, segment_bytes - start)
            rows.append((address + start, segment_bytes, slot_offset + start, size))
    return np.array(rows, np.uint64)


def compile_kernel(architecture: str, shape: KernelShape, *, out: bool) -> bytes:
    """Return a cubin of ``copy_segments`` for, say, ``sm_90``. Needs no GPU."""
    source = Path(__file__).with_name("segment_kernel.cu").read_bytes()
    options = [
        f"--gpu-architecture={architecture}",
        f"-DWARPS={shape.warps}",
        f"-DSTAGES={shape.stages}",
        f"-DSTAGE_BYTES={shape.stage_bytes}",
        f"-DPENDING={shape.pending}",
        f"-DOUT={int(out)}",
    ]
    program = _checked(nvrtc.nvrtcCreateProgram(source, b"segment_kernel.cu", 0, [], []))
    try:
        (error,) = nvrtc.nvrtcCompileProgram(
            program, len(options), [option.encode() for option in options]
        )
        if error:
            log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
            nvrtc.nvrtcGetProgramLog(program, log)
            raise KernelError(f"NVRTC: {log.decode().strip()}")
        cubin = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


class SegmentKernel:
    """Loaded into the current context of one GPU of compute capability 9.0 or later.

    Raises:
        KernelError: it cannot be built for this GPU.
    """

    def __init__(self, architecture: str, shape: KernelShape) -> None:
        self.shape = shape
        self._functions = {
            out: self._load(compile_kernel(architecture, shape, out=out)) for out in (True, False)
        }

    def launch(
        self,
        *,
        out: bool,
        blocks: int,
        slots: int,
        num_blocks: int,
        units: int,
        num_units: int,
        num_sms: int,
        stream: int,
    ) -> None:
        """Copy whole blocks between HBM and slots.

        Args:
            out: HBM to slots; otherwise back.
            blocks: address on the GPU of ``num_blocks`` block numbers (u64).
            slots: address on the GPU of as many slot addresses (u64).
            num_blocks: blocks to copy.
            units: address on the GPU of the `unit_table`.
            num_units: its rows.
            num_sms: thread blocks to launch; one fills an SM's shared memory.
            stream: handle of the stream to run on.

        Raises:
            KernelError: the launch was refused.
        """
        values = (blocks, slots, num_blocks, units, num_units)
        types = (_POINTER, _POINTER, _U32, _POINTER, _U32)
        _checked(
            driver.cuLaunchKernel(
                self._functions[out],
                *(num_sms, 1, 1),
                *(_WARP * self.shape.warps, 1, 1),
                self.shape.shared_bytes,
                stream,
                (values, types),
                0,
            )
        )

    def _load(self, cubin: bytes) -> Any:
        module = _checked(driver.cuModuleLoadData(cubin))
        function = _checked(driver.cuModuleGetFunction(module, b"copy_segments"))
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(driver.cuFuncSetAttribute(function, attribute, self.shape.shared_bytes))
        return function


def _checked(answer: tuple[Any, ...]) -> Any:
    error, *values = answer
    if error:
        raise KernelError(str(error))
    return values[0] if len(values) == 1 else tuple(values)


def driver_version() -> int:
    """Return the CUDA version of the driver, such as 13000."""
    return int(_checked(driver.cuDriverGetVersion()))


def new_stream() -> int:
    """Return the handle of a new stream of the lowest priority, kept until the process ends."""
    least, _ = _checked(driver.cuCtxGetStreamPriorityRange())
    flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    return int(_checked(driver.cuStreamCreateWithPriority(flags, least)))
