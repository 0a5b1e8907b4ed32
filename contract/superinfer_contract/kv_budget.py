"""The body of ``GET|PATCH /v1/kv/budget``: live KV budgets of one running runtime.

Budgets are in bytes and are rounded down to what the runtime can hold exactly (whole HBM blocks,
whole DRAM slabs). A PATCH states the wished-for budget and is idempotent; growing and shrinking
take effect as memory is pinned or drains; until then ``pending`` is true.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from superinfer_contract.quantity import ByteQuantity

PATH = "/v1/kv/budget"
MIN_CLASS_SHARE = 0.05

ClassShare = Annotated[float, Field(ge=MIN_CLASS_SHARE, le=1)]
"""Share of the HBM budget that the requests of one SLO class may hold."""


class TierState(BaseModel):
    """One memory tier, in bytes: ``allocated`` moves toward ``desired``, ``in_use`` <= both."""

    model_config = ConfigDict(frozen=True)

    min_bytes: int
    max_bytes: int
    desired_bytes: int
    allocated_bytes: int
    in_use_bytes: int
    step_bytes: int = Field(description="the unit that budgets of this tier are rounded down to")

    @property
    def pending(self) -> bool:
        return self.desired_bytes != self.allocated_bytes


class Activity(BaseModel):
    """What the budgets have been used for since the runtime started."""

    model_config = ConfigDict(frozen=True)

    rotations_out: int = 0
    rotations_in: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    stalls: int = Field(default=0, description="iterations that wanted DRAM that was not there")
    recompute_preemptions: int = Field(default=0, description="requests that lost their KV")


class KvBudget(BaseModel):
    """Answer of GET and PATCH."""

    model_config = ConfigDict(frozen=True)

    hbm: TierState
    dram: TierState
    pending: bool = Field(description="a change is still taking effect in one of the tiers")
    class_shares: dict[str, float] = Field(
        default={}, description="share of the HBM budget that each SLO class may hold"
    )
    activity: Activity = Activity()
    rotation_enabled: bool = True
    rotation_off_reason: str | None = None


class KvBudgetPatch(BaseModel):
    """Body of PATCH: the tiers left out stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hbm_bytes: ByteQuantity | None = None
    dram_bytes: ByteQuantity | None = None
    class_shares: dict[str, ClassShare] | None = Field(
        default=None, description="by SLO class; the classes left out stay as they are"
    )

    @model_validator(mode="after")
    def _names_a_tier(self) -> "KvBudgetPatch":
        if self.hbm_bytes is None and self.dram_bytes is None and not self.class_shares:
            raise ValueError("name at least one of hbm_bytes, dram_bytes, class_shares")
        return self
