"""Sizes that scheduler, workers and copy engines must agree on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KvGeometry:
    """Sizes of the KV cache; bytes are over all workers."""

    num_blocks: int
    """HBM blocks that hold KV (vLLM's null block is not one)."""
    block_size: int
    """Tokens a block."""
    block_bytes: int
    slots_per_slab: int
    world_size: int

    @property
    def slab_bytes(self) -> int:
        return self.slots_per_slab * self.block_bytes
