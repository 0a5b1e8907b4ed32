"""`SuperInferService` as its user writes it: the schema of the file given to `up`.

The schema is Kubernetes' way of writing (camelCase, units spelled out as ``Seconds``, byte
quantities such as ``512Mi``); inside, the same values carry Python names with units. Unknown fields
are refused, so a typing error never passes silently. Nothing here does I/O.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from pydantic.alias_generators import to_camel
from superinfer_contract.quantity import ByteQuantity
from superinfer_contract.runtime_config import SchedulerKnobs, TierBudget
from superinfer_contract.slo import CLASS_NAME_PATTERN, SloClassList

API_VERSION = "superinfer.dev/v1alpha1"
STEPS_OF_A_TIER = 8


def kubernetes_name(name: str) -> str:
    """Return the name that field ``name`` has in YAML: ``run_quantum_s`` -> runQuantumSeconds."""
    return to_camel(re.sub(r"_s$", "_seconds", name))


STRICT = ConfigDict(frozen=True, extra="forbid", alias_generator=kubernetes_name)


class ModelSpec(BaseModel):
    """Where the weights are: a Hugging Face name (``uri``) or a directory (``path``)."""

    model_config = STRICT

    uri: str | None = Field(default=None, min_length=1, description="org/name or hf://org/name")
    path: str | None = Field(default=None, min_length=1)

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str | None) -> str | None:
        if uri is not None and "://" in uri and not uri.startswith("hf://"):
            raise ValueError(f"{uri!r}: write org/name or hf://org/name, or use path")
        return uri

    @model_validator(mode="after")
    def _one_place(self) -> "ModelSpec":
        if (self.uri is None) == (self.path is None):
            raise ValueError("give exactly one of uri and path; leave model out for the tiny model")
        return self

    @property
    def name(self) -> str:
        """What vLLM's ``--model`` takes."""
        return self.path or (self.uri or "").removeprefix("hf://")


class EngineSpec(BaseModel):
    """vLLM's engine arguments by their CLI names without the dashes."""

    model_config = STRICT

    args: dict[str, JsonValue] = {}


class TierSpec(TierBudget):
    """Bounds of one KV tier and the ``step`` by which its budget moves."""

    step: ByteQuantity | None = Field(
        default=None, gt=0, description="bytes a step; an eighth of max when left out"
    )

    @property
    def step_bytes(self) -> int:
        return self.step or max(1, self.max // STEPS_OF_A_TIER)


class KvCacheSpec(BaseModel):
    """KV memory. ``hbm`` left out: vLLM sizes it; ``dram: null``: no rotation."""

    model_config = STRICT

    hbm: TierSpec | None = None
    dram: TierSpec | None = TierSpec(max=4 * 2**30)
    slab: ByteQuantity = Field(default=2**30, gt=0)
    policy: Literal["Ceiling"] = Field(
        default="Ceiling", description="memory is reserved at max; only the budget inside moves"
    )

    @model_validator(mode="after")
    def _whole_slabs(self) -> "KvCacheSpec":
        if self.dram is None:
            return self
        if self.dram.max < self.slab:
            raise ValueError(f"dram.max ({self.dram.max}) must hold one slab ({self.slab})")
        if self.dram.step is not None and self.dram.step % self.slab:
            raise ValueError(
                f"dram.step ({self.dram.step}) must be a multiple of slab ({self.slab})"
            )
        return self


class SchedulerSpec(SchedulerKnobs):
    """RotaSched's knobs under their YAML names."""

    model_config = STRICT


class ServerSpec(BaseModel):
    """The OpenAI-compatible server."""

    model_config = STRICT

    port: int = Field(default=8000, ge=1, le=65535)
    drain_s: float = Field(default=30.0, ge=0)


class TelemetrySpec(BaseModel):
    """How often the runtime reports."""

    model_config = STRICT

    interval_s: float = Field(default=5.0, gt=0)


class BudgetSpec(BaseModel):
    """When KV budgets move: grow soon, shrink late, one step at a time."""

    model_config = STRICT

    window_s: float = Field(default=30.0, gt=0, description="telemetry that a decision looks at")
    min_events: int = Field(
        default=10, ge=1, description="judged requests without which a share means nothing"
    )
    hysteresis: float = Field(
        default=0.0, ge=0, lt=1, description="how far below its target a class may be"
    )
    cooldown_s: float = Field(default=30.0, ge=0, description="between two steps")
    timeout_s: float = Field(default=60.0, gt=0, description="for a step to take effect")
    max_steps_per_hour: int = Field(default=30, ge=1)
    shrink_after_s: float = Field(default=600.0, gt=0, description="unused for so long")
    shrink_below_use: float = Field(default=0.5, gt=0, lt=0.7, description="share in use")


class ServiceSpec(SloClassList):
    """What a service is to be."""

    model_config = STRICT

    mode: Literal["Auto", "Plan"] = Field(default="Auto", description="Plan decides and reports")
    replicas: int = Field(default=1, ge=0)
    model: ModelSpec | None = Field(default=None, description="None: the embedded tiny model")
    policy: Literal["rotasched", "stock"] = "rotasched"
    engine: EngineSpec = EngineSpec()
    kv_cache: KvCacheSpec = KvCacheSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    server: ServerSpec = ServerSpec()
    telemetry: TelemetrySpec = TelemetrySpec()
    budget: BudgetSpec = BudgetSpec()


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that is read; the rest may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=CLASS_NAME_PATTERN)


class SuperInferService(BaseModel):
    """The whole file.

    >>> service = load_model(SuperInferService, Path("examples/laptop.yaml"))
    """

    model_config = STRICT

    api_version: Literal["superinfer.dev/v1alpha1"]
    kind: Literal["SuperInferService"]
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
