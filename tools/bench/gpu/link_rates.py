"""Bandwidth of each way to copy, by segment size, beside a plain contiguous copy of the same run.

Segments lie scattered in HBM (one region a layer, blocks shuffled) and blocks scattered in the
slab, so that no neighbours merge: the worst case. A block is 2 MiB throughout, whole or in layers.
The plain copy is one large copy a direction, queued as often as the others' jobs; shares are
against its duplex figure. GB/s by the GPU's clock; the better of two rounds for all alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from superinfer_runtime.duplexkv.cuda.calibration import HOST_CANDIDATES, PEER_CANDIDATES
from superinfer_runtime.duplexkv.cuda.device import TorchDevice
from superinfer_runtime.duplexkv.cuda.rates import Choice, measure
from superinfer_runtime.duplexkv.cuda.segment_kernel import KernelShape
from superinfer_runtime.duplexkv.cuda.slabs import SlabMemory
from superinfer_runtime.duplexkv.planner import Addresses, KvLayout

BLOCK_BYTES = 2 << 20
NUM_BLOCKS = 1024
SEGMENT_BYTES = (8 << 10, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 2 << 20)
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Rig:
    """Memory of one tier to measure on."""

    hbm: torch.Tensor
    slab: int

    def device(self, layout: KvLayout) -> tuple[TorchDevice, Addresses]:
        start, size = self.hbm.data_ptr(), NUM_BLOCKS * layout.segment_bytes[0]
        regions = np.array([start + n * size for n in range(len(layout.segment_bytes))], np.uint64)
        return TorchDevice(self.hbm.device.index, regions, layout, KernelShape()), regions


def link_rates(tier: str, memory: SlabMemory) -> list[dict[str, Any]]:
    """Measure one tier; a row a way and segment size, the plain copy first and last."""
    candidates = PEER_CANDIDATES if tier == "peer" else HOST_CANDIDATES
    hbm = torch.empty(NUM_BLOCKS * BLOCK_BYTES, dtype=torch.uint8, device="cuda:0")
    hbm.view(torch.int64).random_()  # zeros may move faster than real data
    slab = memory.allocate(hbm.nbytes, hbm.nbytes)
    rig = Rig(hbm, slab)
    try:
        plain = _row(tier, "plain", hbm.nbytes // 2, _rates(rig, Choice(), hbm.nbytes // 2))
        rows = [plain]
        for segment_bytes in SEGMENT_BYTES:
            for choice in candidates:
                row = _row(tier, _name(choice), segment_bytes, _rates(rig, choice, segment_bytes))
                row["share_of_plain_duplex"] = round(row["duplex_gb_s"] / plain["duplex_gb_s"], 3)
                row["num_sms"] = 0 if choice.path == "direct" else 2 * choice.shape.num_sms
                rows.append(row)
        last = _row(tier, "plain", hbm.nbytes // 2, _rates(rig, Choice(), hbm.nbytes // 2))
        last["share_of_plain_duplex"] = round(last["duplex_gb_s"] / plain["duplex_gb_s"], 3)
        return [*rows, last]
    finally:
        memory.release(slab)


def _rates(rig: Rig, choice: Choice, segment_bytes: int) -> dict[str, float]:
    """GB/s out, in and duplex; a segment of half of the memory is the plain copy."""
    if segment_bytes > BLOCK_BYTES:
        layout, num_blocks = KvLayout((segment_bytes,)), 2
    else:
        layout, num_blocks = KvLayout((segment_bytes,) * (BLOCK_BYTES // segment_bytes)), NUM_BLOCKS
    device, regions = rig.device(layout)
    rounds = [measure(device, choice, regions, layout, rig.slab, num_blocks) for _ in range(ROUNDS)]
    best = {
        "out_gb_s": max(rates.out for rates in rounds),
        "in_gb_s": max(rates.into for rates in rounds),
        "duplex_gb_s": max(rates.duplex for rates in rounds),
    }
    return {name: round(rate / 1e9, 1) for name, rate in best.items()}


def _row(tier: str, way: str, segment_bytes: int, rates: dict[str, float]) -> dict[str, Any]:
    return {"tier": tier, "way": way, "segment_bytes": segment_bytes, **rates}


def _name(choice: Choice) -> str:
    streams = choice.shape.num_copy_streams
    return str(choice.path) + (f", {streams} streams" if streams > 1 else "")
