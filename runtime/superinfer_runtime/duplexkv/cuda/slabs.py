"""Memory for slabs: pinned DRAM, or a neighbour GPU's HBM.

A slab is taken and given back as a whole, on a thread of its own. Pinning a gigabyte takes a
noticeable part of a second, and the driver lets nobody launch anything meanwhile: so DRAM is pinned
in pieces, with pauses in which steps get their turn. A copy must not span two pieces. Sizes follow
the machine's page size (64 KiB on Grace).
"""

import ctypes
import ctypes.util
import math
import mmap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

PIECE_BYTES = 32 << 20
_PAUSE_S = 0.001
_PORTABLE = 1
"""``cudaHostRegisterPortable``: pinned for every GPU of this process."""


class SlabError(Exception):
    """The machine does not give the memory; says how much was asked for."""


class SlabMemory(Protocol):
    """Where slabs come from."""

    def allocate(self, num_bytes: int, piece_bytes: int) -> int:
        """Return the address of a new slab; copies stay within ``piece_bytes`` of its start on.

        Raises:
            SlabError: there is no such memory.
        """
        ...

    def release(self, address: int) -> None:
        """Give a slab back that no copy uses."""
        ...


def piece_slots(block_bytes: int) -> int:
    """Return how many slots a piece holds: about `PIECE_BYTES`, and a whole number of pages."""
    step = mmap.PAGESIZE // math.gcd(block_bytes, mmap.PAGESIZE)
    return max(PIECE_BYTES // (block_bytes * step), 1) * step


@dataclass(frozen=True, slots=True)
class _Slab:
    mapping: mmap.mmap
    pieces: list[int]
    """Addresses that are pinned."""


class HostSlabs:
    """DRAM, pinned and near the GPU where the machine says what is near."""

    def __init__(self, device_index: int) -> None:
        self._device_index = device_index
        self._node = _numa_node(device_index)
        self._slabs: dict[int, _Slab] = {}

    def allocate(self, num_bytes: int, piece_bytes: int) -> int:
        try:
            mapping = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, ValueError, OverflowError) as failure:
            raise SlabError(f"cannot allocate {num_bytes} bytes of DRAM: {failure}") from failure
        mapping.madvise(mmap.MADV_HUGEPAGE)  # fewer pages to touch and to pin
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        _place_near(address, num_bytes, self._node)
        torch.cuda.set_device(self._device_index)
        slab = _Slab(mapping, [])
        for start in range(0, num_bytes, piece_bytes):
            size = min(piece_bytes, num_bytes - start)
            error = int(torch.cuda.cudart().cudaHostRegister(address + start, size, _PORTABLE))
            if error:
                _unpin(slab)
                raise SlabError(f"cannot pin {num_bytes} bytes of DRAM: CUDA error {error}")
            slab.pieces.append(address + start)
            time.sleep(_PAUSE_S)
        self._slabs[address] = slab
        return address

    def release(self, address: int) -> None:
        _unpin(self._slabs.pop(address))


def _unpin(slab: _Slab) -> None:
    for piece in slab.pieces:
        torch.cuda.cudart().cudaHostUnregister(piece)
        time.sleep(_PAUSE_S)
    slab.mapping.close()


class PeerSlabs:
    """HBM of a neighbour GPU, reached over NVLink."""

    def __init__(self, device_index: int, peer_index: int) -> None:
        if not torch.cuda.can_device_access_peer(device_index, peer_index):
            raise SlabError(f"GPU {device_index} cannot reach the memory of GPU {peer_index}")
        self._peer = torch.device("cuda", peer_index)
        self._slabs: dict[int, torch.Tensor] = {}
        # PyTorch opens the way between two GPUs with their first copy.
        torch.empty(1, device=self._peer).to(torch.device("cuda", device_index))
        _enable_peer_access(device_index, peer_index)

    def allocate(self, num_bytes: int, piece_bytes: int) -> int:
        try:
            slab = torch.empty(num_bytes, dtype=torch.uint8, device=self._peer)
        except torch.cuda.OutOfMemoryError as failure:
            raise SlabError(f"cannot allocate {num_bytes} bytes on {self._peer}") from failure
        self._slabs[slab.data_ptr()] = slab
        return int(slab.data_ptr())

    def release(self, address: int) -> None:
        del self._slabs[address]
        torch.cuda.empty_cache()


def _enable_peer_access(device_index: int, peer_index: int) -> None:
    """Map the peer's memory into this GPU's address space; done already is as good."""
    from cuda.bindings import runtime

    torch.cuda.set_device(device_index)
    (error,) = runtime.cudaDeviceEnablePeerAccess(peer_index, 0)
    done = (runtime.cudaError_t.cudaSuccess, runtime.cudaError_t.cudaErrorPeerAccessAlreadyEnabled)
    if error not in done:
        raise SlabError(f"GPU {device_index} cannot map the memory of GPU {peer_index}: {error}")
    runtime.cudaGetLastError()  # "already enabled" must not show up as the next call's error


def _numa_node(device_index: int) -> int:
    """Return the NUMA node next to the GPU, -1 where the machine does not say."""
    gpu = torch.cuda.get_device_properties(device_index)
    address = f"{gpu.pci_domain_id:04x}:{gpu.pci_bus_id:02x}:{gpu.pci_device_id:02x}.0"
    try:
        return int(Path(f"/sys/bus/pci/devices/{address}/numa_node").read_text())
    except (OSError, ValueError):
        return -1


def _place_near(address: int, num_bytes: int, node: int) -> None:
    """Prefer ``node`` for these pages; without libnuma, or its leave, first touch decides."""
    library: Any = None
    if node >= 0 and (name := ctypes.util.find_library("numa")):
        library = ctypes.CDLL(name)
    if library is not None and library.numa_available() >= 0:
        library.numa_tonode_memory(
            ctypes.c_void_p(address), ctypes.c_size_t(num_bytes), ctypes.c_int(node)
        )
