"""The status of a SuperInferService: what the operator saw and did, for people and programs.

Strings and lists are bounded, so the writer cuts what is longer. Sizes are integers in bytes; the
``summary`` beside them says the same for a person.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from superinfer_contract.service_style import STRICT

MAX_PODS = 1100  # 1000 replicas and a surge of 100
MAX_SENTENCE = 1024


def _list_map(key: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


Bytes = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
Generation = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
Count = Annotated[int, Field(ge=0)]
Sentence = Annotated[str, Field(max_length=MAX_SENTENCE)]
ClassName = Annotated[str, Field(max_length=63)]
Word = Annotated[str, Field(max_length=63)]
ClassShares = Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], Field(max_length=16)]


class Condition(BaseModel):
    """One condition as Kubernetes' API conventions have it."""

    model_config = STRICT

    type: str = Field(
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="which condition",
    )
    status: Literal["True", "False", "Unknown"] = Field(description="whether it holds")
    observed_generation: Generation | None = Field(
        default=None, description="metadata.generation that the condition was set for"
    )
    last_transition_time: datetime = Field(description="when status last changed")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="why, in one word for programs",
    )
    message: str = Field(max_length=32768, description="why, for people")


class Attained(BaseModel):
    """Requests judged within the window."""

    model_config = STRICT

    good: Count = Field(description="requests that met the objective")
    total: Count = Field(description="requests that were judged")
    attainment: float | None = Field(
        default=None, ge=0, le=1, description="good / total; absent when none was judged"
    )


class ClassStatus(BaseModel):
    """How one SLO class fares, over all pods."""

    model_config = STRICT

    slo_class: ClassName = Field(alias="class", description="name of the SLO class")
    target: float = Field(ge=0, le=1, description="share that is to meet both objectives")
    ttft: Attained | None = Field(default=None, description="time to first token")
    tbt: Attained | None = Field(default=None, description="mean gap between tokens")
    joint: Attained | None = Field(default=None, description="both objectives")


class TierStatus(BaseModel):
    """One KV tier of each replica; where replicas differ, what holds for all of them."""

    model_config = STRICT

    desired_bytes: Bytes | None = Field(
        default=None, description="the budget wished of every replica"
    )
    allocated_bytes: Bytes | None = Field(
        default=None, description="what every replica holds at least"
    )
    in_use_bytes: Bytes | None = Field(
        default=None, description="what holds KV blocks, in the fullest replica"
    )
    min_bytes: Bytes | None = Field(default=None, description="the least that all allow")
    max_bytes: Bytes | None = Field(default=None, description="the most that all allow")
    summary: Word | None = Field(default=None, description="for people, e.g. 21Gi of 64Gi in use")


class KvCacheStatus(BaseModel):
    """KV memory as it is."""

    model_config = STRICT

    hbm: TierStatus | None = Field(default=None, description="KV memory on the GPUs")
    dram: TierStatus | None = Field(default=None, description="memory that requests rotate to")
    last_resize_time: datetime | None = Field(
        default=None, description="when a budget last came into force"
    )


class LastDecision(BaseModel):
    """The decision ladder's last word."""

    model_config = STRICT

    rung: Word = Field(description="the rung taken, e.g. GrowDRAM")
    reason: Sentence = Field(description="why")
    outcome: Word = Field(description="what became of it, e.g. sent or landed")
    time: datetime = Field(description="when it was taken")


class Wish(BaseModel):
    """What the operator decided beyond the spec, and restores after its own restart."""

    model_config = STRICT

    hbm_bytes: Bytes | None = Field(default=None, description="HBM budget of a pod")
    dram_bytes: Bytes | None = Field(default=None, description="DRAM budget of a pod")
    class_shares: ClassShares | None = Field(
        default=None, description="largest share of the HBM budget by SLO class"
    )
    replicas: Count | None = Field(default=None, description="replicas that the ladder set")


class PodStatus(BaseModel):
    """One pod of the service."""

    model_config = STRICT

    name: str = Field(max_length=253, description="name of the pod")
    dram_allocated_bytes: Bytes | None = Field(
        default=None, description="bytes that its DRAM tier holds"
    )
    state: Word | None = Field(default=None, description="where it stands, e.g. Ready or Draining")
    message: Sentence | None = Field(default=None, description="what is wrong with it")


class ServiceStatus(BaseModel):
    """What the operator saw and did; nobody else writes it."""

    model_config = STRICT

    observed_generation: Generation | None = Field(
        default=None, description="metadata.generation that this status is about"
    )
    conditions: list[Condition] | None = Field(
        default=None,
        max_length=32,
        description="what holds and what does not",
        json_schema_extra=_list_map("type"),
    )
    replicas: Count | None = Field(default=None, description="pods, for the scale subresource")
    ready_replicas: Count | None = Field(default=None, description="pods that are ready")
    updated_replicas: Count | None = Field(default=None, description="pods of the newest revision")
    selector: str | None = Field(
        default=None, max_length=512, description="labels of the pods, for the scale subresource"
    )
    url: str | None = Field(
        default=None, max_length=512, description="the OpenAI API inside the cluster"
    )
    slo: list[ClassStatus] | None = Field(
        default=None,
        max_length=16,
        description="how each SLO class fares",
        json_schema_extra=_list_map("class"),
    )
    attainment: str | None = Field(
        default=None,
        max_length=2 * MAX_SENTENCE,
        description="joint attainment by class for people, e.g. chat 97%, batch 82%",
    )
    kv_cache: KvCacheStatus | None = Field(default=None, description="KV memory as it is")
    class_shares: ClassShares | None = Field(
        default=None, description="largest share of the HBM budget by SLO class, in force"
    )
    last_decision: LastDecision | None = Field(
        default=None, description="the decision ladder's last word"
    )
    wish: Wish | None = None
    pods: list[PodStatus] | None = Field(
        default=None,
        max_length=MAX_PODS,
        description="the service's pods",
        json_schema_extra=_list_map("name"),
    )
