"""What the server hands to the plug-ins, through vLLM's ``kv_connector_extra_config``.

Scheduler and workers run in processes of their own; this dict is the one thing that vLLM carries to
all of them. Plug-ins loaded without it run with the defaults.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from superinfer_contract.runtime_config import SchedulerKnobs, TierBudget
from superinfer_contract.slo import PAPER_DEFAULT_CLASS, SloClass

EXTRA_CONFIG_KEY = "superinfer"


class KvConfig(BaseModel):
    """KV budgets, in bytes over all workers of the engine."""

    model_config = ConfigDict(frozen=True)

    hbm: TierBudget | None = None
    dram: TierBudget | None = None
    slab_bytes: int = Field(default=2**30, gt=0)
    tier: Literal["host", "peer"] = "host"
    """What stands behind the "DRAM" budget: pinned DRAM, or a neighbour GPU's HBM."""


class EngineConfig(BaseModel):
    """Configuration of scheduler and connector."""

    model_config = ConfigDict(frozen=True)

    slo_classes: tuple[SloClass, ...] = (PAPER_DEFAULT_CLASS,)
    kv_cache: KvConfig = KvConfig()
    scheduler: SchedulerKnobs = SchedulerKnobs()
    policy: Literal["rotasched", "released"] = "rotasched"
    """Who decides. No service asks for another: it is what RotaSched is compared with."""
    control_socket: str | None = None

    @classmethod
    def from_vllm(cls, vllm_config: Any) -> "EngineConfig":
        """Read it from a `vllm.config.VllmConfig`."""
        transfer = vllm_config.kv_transfer_config
        extra = (transfer.kv_connector_extra_config or {}) if transfer is not None else {}
        return cls.model_validate(extra.get(EXTRA_CONFIG_KEY, {}))

    @property
    def default_class(self) -> SloClass:
        return next((c for c in self.slo_classes if c.default), self.slo_classes[0])
