"""The conditions in a service's status, each with what it says when True."""

from enum import StrEnum


class ConditionType(StrEnum):
    """A condition's type; ``meaning`` is one sentence about its being True."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> "ConditionType":
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    READY = "Ready", "All replicas take requests and are of the current revision."
    SERVABLE = "Servable", "At least one replica takes requests."
    PROGRESSING = "Progressing", "Pods are being started or replaced."
    NODE_MEMORY_MODEL_READY = (
        "NodeMemoryModelReady",
        "The nodes keep HBM apart from the memory that Kubernetes hands out.",
    )
    KV_BUDGET_RESIZED = "KVBudgetResized", "Every replica holds the KV budgets wished for."
    SLO_SATISFIED = "SLOSatisfied", "Every SLO class attains its target."
    TELEMETRY_AVAILABLE = "TelemetryAvailable", "Every ready replica reports its metrics."
    DEGRADED = (
        "Degraded",
        "A replica is in trouble, or a rollout is stuck; the message says how.",
    )
