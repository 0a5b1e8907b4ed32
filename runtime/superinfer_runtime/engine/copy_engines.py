"""The copy engine of one worker: from vLLM's KV tensors to the memory regions that it copies."""

import os
from pathlib import Path

import numpy as np
import torch

from superinfer_runtime.duplexkv.copy_engine import CopyEngine
from superinfer_runtime.duplexkv.cpu_engine import CpuCopyEngine, HbmRegion
from superinfer_runtime.duplexkv.planner import KvLayout
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.geometry import KvGeometry


def copy_engine(
    tensors: list[torch.Tensor], geometry: KvGeometry, config: EngineConfig
) -> CopyEngine:
    """Return the engine for the device that holds ``tensors``."""
    regions = kv_regions(tensors, geometry.num_blocks + 1)
    device = tensors[0].device
    if device.type == "cpu":
        return CpuCopyEngine(regions, geometry.slots_per_slab)
    return _cuda_engine(regions, device.index or 0, geometry, config)


def kv_regions(tensors: list[torch.Tensor], num_blocks: int) -> list[HbmRegion]:
    """Return the memory regions behind vLLM's KV tensors, each block of each one contiguous.

    Raises:
        ValueError: a layout in which a block is not contiguous.
    """
    regions: dict[int, HbmRegion] = {}
    for tensor in tensors:
        outermost = max(range(tensor.dim()), key=tensor.stride)
        is_dense = tensor.stride(outermost) * tensor.shape[outermost] == tensor.numel()
        if not is_dense or tensor.shape[outermost] % num_blocks:
            raise ValueError(
                f"KV layout {tuple(tensor.shape)} with strides {tensor.stride()} does not keep"
                " blocks contiguous; serve this model with --policy stock"
            )
        # Layers that share their KV share their memory: copy it once.
        block_bytes = tensor.nbytes // num_blocks
        regions[tensor.data_ptr()] = HbmRegion(tensor.data_ptr(), block_bytes)
    return [regions[address] for address in sorted(regions)]


def _cuda_engine(
    regions: list[HbmRegion], index: int, geometry: KvGeometry, config: EngineConfig
) -> CopyEngine:
    # Imported where there is a GPU: the bindings need the CUDA driver.
    from superinfer_runtime.duplexkv.cuda.calibration import (
        HOST_CANDIDATES,
        PEER_CANDIDATES,
        Calibrator,
    )
    from superinfer_runtime.duplexkv.cuda.device import TorchDevice
    from superinfer_runtime.duplexkv.cuda.engine import CudaCopyEngine
    from superinfer_runtime.duplexkv.cuda.segment_kernel import KernelShape
    from superinfer_runtime.duplexkv.cuda.slabs import HostSlabs, PeerSlabs, SlabMemory

    addresses = np.array([region.address for region in regions], np.uint64)
    layout = KvLayout(tuple(region.segment_bytes for region in regions))
    device = TorchDevice(index, addresses, layout, KernelShape())
    is_peer = config.kv_cache.tier == "peer"
    memory: SlabMemory = (
        PeerSlabs(index, peer_of(index, geometry.world_size)) if is_peer else HostSlabs(index)
    )
    candidates = PEER_CANDIDATES if is_peer else HOST_CANDIDATES
    calibrator = Calibrator(device, addresses, layout, candidates, cache_dir())
    return CudaCopyEngine(device, memory, addresses, layout, geometry.slots_per_slab, calibrator)


def peer_of(index: int, world_size: int) -> int:
    """The GPU that lends its memory to GPU ``index``: those after the workers' own, in order.

    Raises:
        ValueError: too few GPUs are visible.
    """
    visible = torch.cuda.device_count()
    if index + world_size >= visible:
        raise ValueError(
            f"kv_cache.tier 'peer' takes the memory of a second GPU for each of {world_size}"
            f" workers: {visible} GPUs are visible, {2 * world_size} are needed"
        )
    return index + world_size


def cache_dir() -> Path:
    """Where calibrations are kept between starts."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "superinfer" / "links"
