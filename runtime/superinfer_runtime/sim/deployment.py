"""What is simulated: a model on so many replicas of a machine, with its limits and KV budgets."""

from dataclasses import dataclass, field

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.sim.machine.hardware import Hardware
from superinfer_runtime.sim.machine.model_shape import ModelShape
from superinfer_runtime.sim.machine.step_time import kv_capacity_blocks
from superinfer_runtime.sim.stock_scheduler import EngineLimits

KV_SHARE_OF_DRAM = 5 / 6
"""As in SuperInfer's evaluation: 400 of 480 GB; the rest is the system's and the runtime's."""
MAX_SLABS = 16
"""DRAM is taken in so many slabs at most: the simulator never pins memory while it serves."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """See the module's text. Bytes are of one replica, over all its GPUs."""

    model: ModelShape
    hardware: Hardware
    limits: EngineLimits = field(default_factory=EngineLimits)
    knobs: SchedulerKnobs = field(default_factory=SchedulerKnobs)
    tensor_parallel: int = 1
    replicas: int = 1
    hbm_kv_bytes: int | None = None
    """None: all that the weights leave."""
    dram_kv_bytes: int | None = None
    """None: all of the machine's DRAM that serving may take."""

    def __post_init__(self) -> None:
        if self.hbm_blocks < 1:
            raise ValueError(
                f"{self.model.name} leaves no HBM for KV on {self.hardware.name}: "
                "take more GPUs (tensor parallel) or a machine with more HBM"
            )

    @property
    def block_bytes(self) -> int:
        return self.model.kv_bytes_per_token * self.limits.block_size

    @property
    def max_hbm_blocks(self) -> int:
        """Blocks that the GPUs hold beside the weights."""
        return kv_capacity_blocks(
            self.model, self.hardware, self.tensor_parallel, self.limits.block_size
        )

    @property
    def hbm_blocks(self) -> int:
        if self.hbm_kv_bytes is None:
            return self.max_hbm_blocks
        return min(self.hbm_kv_bytes // self.block_bytes, self.max_hbm_blocks)

    @property
    def dram_blocks(self) -> int:
        if self.dram_kv_bytes is None:
            dram_bytes = KV_SHARE_OF_DRAM * self.hardware.dram_bytes * self.tensor_parallel
            return int(dram_bytes) // self.block_bytes
        return self.dram_kv_bytes // self.block_bytes

    @property
    def geometry(self) -> KvGeometry:
        return KvGeometry(
            num_blocks=self.hbm_blocks,
            block_size=self.limits.block_size,
            block_bytes=self.block_bytes,
            slots_per_slab=max(self.dram_blocks // MAX_SLABS, 1),
            world_size=1,
        )

    @property
    def dram_slabs(self) -> int:
        return self.dram_blocks // self.geometry.slots_per_slab
