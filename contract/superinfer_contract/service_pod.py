"""What Kubernetes needs to know of a service's pods; `up`, which starts no pod, passes over it.

A small typed subset covers what nearly every service sets. ``podTemplate`` is the way to all the
rest: it is merged over the pod that the operator builds, containers and volumes by their names.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue, model_validator

from superinfer_contract.quantity import ByteQuantity
from superinfer_contract.service_style import STRICT

GH200_PRODUCTS = ("NVIDIA-GH200-480GB", "NVIDIA-GH200-144G-HBM3e")
LabelValue = Annotated[str, Field(max_length=63)]
LABEL_VALUE = r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


class LocalReference(BaseModel):
    """The name of an object in the service's own namespace."""

    model_config = STRICT

    name: str = Field(min_length=1, max_length=253, description="name of the object")


class SecretKeyReference(LocalReference):
    """One entry of a Secret in the service's own namespace."""

    key: str = Field(
        default="api-keys",
        pattern=r"^[-._a-zA-Z0-9]{1,253}$",
        description="entry of the Secret",
    )


class TlsSpec(BaseModel):
    """The certificate of the service's pods, for the host name ``<name>.<namespace>.svc``."""

    model_config = STRICT

    secret_name: str = Field(
        min_length=1,
        max_length=253,
        description="Secret of type kubernetes.io/tls in the service's namespace, such as "
        "cert-manager writes; renewed ones are taken up without a restart",
    )


class ResourcesSpec(BaseModel):
    """What a pod reserves. The memory of the DRAM tier comes on top, from ``kvCache.dram``."""

    model_config = STRICT

    gpus: int = Field(default=1, ge=0, le=16, description="GPUs of the pod; 0 for a CPU runtime")
    cpu: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)?m?$",
        max_length=16,
        description="CPU request, e.g. 8 or 500m; no limit is set",
    )
    memory: ByteQuantity = Field(
        default=32 * 2**30, gt=0, description="memory besides the DRAM tier"
    )
    dram_charge: float = Field(
        default=1.1,
        ge=1,
        le=4,
        description="bytes of pod memory that are reserved for a byte of the DRAM tier",
    )


class PlacementSpec(BaseModel):
    """On which nodes: by default arm64 nodes with a Hopper GPU that is one of ``gpuProducts``."""

    model_config = STRICT

    arch: str | None = Field(
        default="arm64", pattern=LABEL_VALUE, description="kubernetes.io/arch; null: any"
    )
    gpu_family: str | None = Field(
        default="hopper", pattern=LABEL_VALUE, description="nvidia.com/gpu.family; null: any"
    )
    gpu_products: tuple[LabelValue, ...] = Field(
        default=GH200_PRODUCTS, max_length=16, description="nvidia.com/gpu.product; empty: any"
    )
    node_selector: dict[str, LabelValue] = Field(
        default={}, max_length=32, description="further labels that a node must have"
    )
    tolerations: tuple[dict[str, JsonValue], ...] = Field(
        default=(), max_length=16, description="Tolerations of the pod"
    )
    runtime_class_name: str | None = Field(
        default=None, max_length=253, description="RuntimeClass of the pod"
    )
    priority_class_name: str | None = Field(
        default=None, max_length=253, description="PriorityClass of the pod"
    )
    share_group: str | None = Field(
        default=None,
        pattern=LABEL_VALUE,
        description="services of one namespace with the same group run on the same GPUs and share "
        "the sum of their initial HBM budgets",
    )


class RolloutSpec(BaseModel):
    """How pods are replaced. The defaults start the new pod before the old one drains."""

    model_config = STRICT

    max_surge: int = Field(
        default=1, ge=0, le=100, description="pods beyond replicas while pods are replaced"
    )
    max_unavailable: int = Field(
        default=0, ge=0, le=100, description="pods that may be missing while pods are replaced"
    )
    start_timeout_s: int = Field(
        default=1800, ge=10, le=86400, description="for a pod to load its model"
    )

    @model_validator(mode="after")
    def _can_move(self) -> "RolloutSpec":
        if self.max_surge == 0 and self.max_unavailable == 0:
            raise ValueError("maxSurge and maxUnavailable must not both be 0")
        return self


class AutoscalingSpec(BaseModel):
    """Who sets the number of replicas instead of ``spec.replicas``."""

    model_config = STRICT

    scaler: Literal["Ladder", "External"] = Field(
        default="Ladder",
        description="Ladder: the operator's last rung, within the bounds. External: an autoscaler "
        "that owns the Deployment's replicas; the operator never writes them",
    )
    min_replicas: int = Field(default=1, ge=1, le=1000, description="never fewer replicas")
    max_replicas: int = Field(default=1, ge=1, le=1000, description="never more replicas")

    @model_validator(mode="after")
    def _ordered(self) -> "AutoscalingSpec":
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must not exceed maxReplicas")
        return self


class NetworkPolicySpec(BaseModel):
    """Who may connect: the service's namespace and the operator, and whom ``extraFrom`` names."""

    model_config = STRICT

    enabled: bool = Field(default=True, description="false: no NetworkPolicy is made")
    extra_from: tuple[dict[str, JsonValue], ...] = Field(
        default=(), max_length=16, description="NetworkPolicyPeers that may call the OpenAI API"
    )


class ImageSpec(BaseModel):
    """The runtime's image; left out: the one that the operator was released with."""

    model_config = STRICT

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="with its registry and tag or digest",
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None, description="Kubernetes' default when left out"
    )
    pull_secrets: tuple[LocalReference, ...] = Field(
        default=(), max_length=8, description="Secrets with the registry's credentials"
    )
