"""`SuperInferService` as its user writes it: the file that `up` and `plan` read.

The schema is Kubernetes' way of writing (camelCase, units spelled out as ``Seconds``, byte
quantities such as ``512Mi``); inside, the same values carry Python names with units. Unknown fields
are refused, so a typing error never passes silently. Nothing here does I/O.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from superinfer_contract.quantity import ByteQuantity
from superinfer_contract.runtime_config import (
    MAX_BODY_BYTES,
    MAX_CONCURRENT_REQUESTS,
    SchedulerKnobs,
    TierBudget,
)
from superinfer_contract.service_pod import (
    AutoscalingSpec,
    ImageSpec,
    NetworkPolicySpec,
    PlacementSpec,
    ResourcesSpec,
    RolloutSpec,
    SecretKeyReference,
    TlsSpec,
)
from superinfer_contract.service_style import STRICT
from superinfer_contract.slo import CLASS_NAME_PATTERN, SloClassList

GROUP = "superinfer.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SuperInferService"
STEPS_OF_A_TIER = 8


class ModelSpec(BaseModel):
    """Where the weights are: a Hugging Face name (``uri``) or a directory (``path``)."""

    model_config = STRICT

    uri: str | None = Field(
        default=None, min_length=1, max_length=512, description="org/name or hf://org/name"
    )
    path: str | None = Field(
        default=None, min_length=1, max_length=1024, description="directory inside the pod"
    )

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

    args: dict[str, JsonValue] = Field(
        default={}, max_length=256, description="for example max-model-len: 16384"
    )


class TierSpec(TierBudget):
    """Bounds of one KV tier and the ``step`` by which its budget moves."""

    min: ByteQuantity = Field(default=0, description="the budget never shrinks below")
    max: ByteQuantity = Field(gt=0, description="the budget never grows beyond")
    initial: ByteQuantity | None = Field(
        default=None, description="the budget of a new pod; max when left out"
    )
    step: ByteQuantity | None = Field(
        default=None, gt=0, description="bytes a step; an eighth of max when left out"
    )

    @property
    def step_bytes(self) -> int:
        return self.step or max(1, self.max // STEPS_OF_A_TIER)


class KvCacheSpec(BaseModel):
    """KV memory. ``hbm`` left out: vLLM sizes it; ``dram: null``: no rotation."""

    model_config = STRICT

    hbm: TierSpec | None = Field(
        default=None, description="KV memory on the GPU; vLLM sizes it when left out"
    )
    dram: TierSpec | None = Field(
        default=TierSpec(max=4 * 2**30),
        description="memory of the CPU that requests rotate to; null: no rotation",
    )
    slab: ByteQuantity = Field(
        default=2**30, gt=0, description="unit in which DRAM is taken and given back"
    )
    policy: Literal["Ceiling", "FollowBudget"] = Field(
        default="Ceiling",
        description="Ceiling: pod memory is reserved for dram.max and only the budget inside "
        "moves. FollowBudget: the pod is resized in place with the budget (Kubernetes 1.33)",
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
    """RotaSched's knobs; the defaults are the paper's where it has them."""

    model_config = STRICT


class ServerSpec(BaseModel):
    """The OpenAI-compatible server."""

    model_config = STRICT

    port: int = Field(default=8000, ge=1, le=65535, description="port of the OpenAI API")
    api_key_secret_ref: SecretKeyReference | None = Field(
        default=None,
        description="keys that clients of the OpenAI API must have, one a line; rotated without a "
        "restart. Left out: everybody who can connect may ask",
    )
    tls: TlsSpec | None = Field(default=None, description="plain HTTP when left out")
    max_body: ByteQuantity = Field(
        default=MAX_BODY_BYTES, gt=0, description="largest request body; a larger one is refused"
    )
    max_concurrent_requests: int = Field(
        default=MAX_CONCURRENT_REQUESTS,
        ge=1,
        le=1_000_000,
        description="requests in flight in a pod, waiting ones included; those beyond are refused",
    )
    drain_s: float = Field(
        default=30.0, ge=0, description="time for running requests when a pod stops"
    )


class TelemetrySpec(BaseModel):
    """How often the runtime reports."""

    model_config = STRICT

    interval_s: float = Field(default=5.0, gt=0, description="between two reports")


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
    max_steps_per_hour: int = Field(
        default=30, ge=1, description="no budget moves more often, whatever the load does"
    )
    shrink_after_s: float = Field(default=600.0, gt=0, description="unused for so long")
    shrink_below_use: float = Field(default=0.5, gt=0, lt=0.7, description="share in use")
    min_class_share: float = Field(
        default=0.25,
        ge=0.05,
        le=1,
        description="how far the HBM share of the class with the least weight may be cut; 1: never",
    )


class ServiceSpec(SloClassList):
    """What a service is to be."""

    model_config = STRICT

    mode: Literal["Auto", "Plan"] = Field(default="Auto", description="Plan decides and reports")
    replicas: int | None = Field(default=None, ge=0, le=1000, description="1 when left out")
    autoscaling: AutoscalingSpec | None = None
    image: ImageSpec = ImageSpec()
    resources: ResourcesSpec = ResourcesSpec()
    placement: PlacementSpec = PlacementSpec()
    rollout: RolloutSpec = RolloutSpec()
    network_policy: NetworkPolicySpec = NetworkPolicySpec()
    pod_template: dict[str, JsonValue] = Field(
        default={}, description="merged over the pod's metadata and spec, lists by name"
    )
    model: ModelSpec | None = Field(
        default=None,
        description="where the weights are; the embedded tiny model when left out. It cannot be "
        "changed: another model is another service",
    )
    policy: Literal["rotasched", "stock"] = Field(
        default="rotasched", description="stock: vLLM's own scheduler, without rotation"
    )
    engine: EngineSpec = EngineSpec()
    kv_cache: KvCacheSpec = KvCacheSpec()
    scheduler: SchedulerSpec = SchedulerSpec()
    server: ServerSpec = ServerSpec()
    telemetry: TelemetrySpec = TelemetrySpec()
    budget: BudgetSpec = BudgetSpec()

    @model_validator(mode="after")
    def _shares_what_it_bounds(self) -> "ServiceSpec":
        if self.placement.share_group is not None and self.kv_cache.hbm is None:
            raise ValueError("placement.shareGroup needs kvCache.hbm: its initial is the share")
        return self

    @model_validator(mode="after")
    def _one_scaler(self) -> "ServiceSpec":
        ladder_scales = self.autoscaling is not None and self.autoscaling.scaler == "Ladder"
        if ladder_scales and self.replicas is not None:
            raise ValueError("set replicas or autoscaling, not both: the ladder sets the replicas")
        return self


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that is read; the rest may be there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=CLASS_NAME_PATTERN)
    namespace: str = "default"
    uid: str = ""
    generation: int = 0


class SuperInferService(BaseModel):
    """The whole file.

    >>> service = load_model(SuperInferService, Path("examples/first.yaml"))
    """

    model_config = STRICT

    api_version: Literal["superinfer.dev/v1alpha1"]
    kind: Literal["SuperInferService"]
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
