"""Conditions that follow from a service's Deployment and pods: pure.

*Servable* asks whether requests are answered now; *Progressing* whether pods are being replaced. A
rolling update is both, so they never hide each other.
"""

from dataclasses import dataclass

from superinfer_operator.children import (
    DEPLOYMENT,
    Children,
    Seen,
    has_ended,
    is_ready,
    is_terminating,
)
from superinfer_operator.conditions import ConditionType
from superinfer_operator.node_memory import judge
from superinfer_operator.pod_trouble import trouble_of
from superinfer_operator.transitions import STUCK, Condition

COMPLETE = "NewReplicaSetAvailable"
"""The Deployment controller's reason once a rollout has ended well."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """Counts of a service's pods."""

    wanted: int = 0
    present: int = 0
    updated: int = 0
    ready: int = 0
    rolling: bool = False
    """Pods are being replaced, or their number is changing; not that one is unready for a while."""
    stuck: str = ""
    """Why the Deployment says that it makes no progress."""


def count(name: str, children: Children) -> Replicas:
    """Return the counts; ready pods are counted from the pods, not from the slower Deployment."""
    deployment = children.named(DEPLOYMENT, name)
    if deployment is None:
        return Replicas(wanted=1, rolling=True)
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    wanted = int(spec.get("replicas", 1))
    updated, present = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    seen = status.get("observedGeneration") == deployment.get("metadata", {}).get("generation")
    ready = sum(map(is_ready, children.pods.values()))
    complete = any(
        condition.get("reason") == COMPLETE for condition in status.get("conditions", ())
    )
    return Replicas(
        wanted=wanted,
        present=present,
        updated=updated,
        ready=ready,
        rolling=not (seen and complete and updated == present == wanted),
        stuck=_stuck(deployment),
    )


def _stuck(deployment: Seen) -> str:
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Progressing" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason"))
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message") or condition.get("reason"))
    return ""


def conditions(name: str, children: Children) -> list[Condition]:
    """Return Ready, Servable, Progressing, Degraded and NodeMemoryModelReady."""
    replicas = count(name, children)
    # A pod that ended is replaced and lies about for a while; that is past trouble.
    complete = replicas.ready >= replicas.wanted
    troubles = {
        pod: said
        for pod, seen in sorted(children.pods.items())
        if not (complete and has_ended(seen)) and (said := trouble_of(seen)) is not None
    }
    trouble = "; ".join(f"{pod}: {said}" for pod, said in troubles.items())
    servable = _servable(replicas, trouble)
    progressing = _progressing(replicas)
    nodes = [
        node
        for pod in children.pods.values()
        if not (is_terminating(pod) or has_ended(pod))
        and (node := children.nodes.get(pod.get("spec", {}).get("nodeName", ""))) is not None
    ]
    memory = judge(set(nodes))
    return [
        _ready(replicas, servable, progressing, trouble),
        servable,
        progressing,
        _degraded(replicas, trouble),
        Condition(
            ConditionType.NODE_MEMORY_MODEL_READY, memory.ready, memory.reason, memory.message
        ),
    ]


def _servable(replicas: Replicas, trouble: str) -> Condition:
    if replicas.ready:
        said = f"{replicas.ready} of {replicas.wanted} replicas take requests"
        return Condition(ConditionType.SERVABLE, True, "ReplicasReady", said)
    if replicas.wanted == 0:
        return Condition(ConditionType.SERVABLE, False, "NoReplicas", "replicas is 0")
    said = trouble or "the first replica is starting"
    reason = "ReplicasFail" if trouble else "Starting"
    return Condition(ConditionType.SERVABLE, False, reason, said)


def _progressing(replicas: Replicas) -> Condition:
    said = f"{replicas.updated} of {replicas.wanted} replicas are of the current revision"
    if replicas.stuck:
        return Condition(ConditionType.PROGRESSING, False, STUCK, replicas.stuck)
    if replicas.rolling:
        said = f"{said}, {replicas.ready} ready, {replicas.present} in all"
        return Condition(ConditionType.PROGRESSING, True, "RollingOut", said)
    return Condition(ConditionType.PROGRESSING, False, "UpToDate", said)


def _ready(
    replicas: Replicas, servable: Condition, progressing: Condition, trouble: str
) -> Condition:
    if replicas.ready >= replicas.wanted and not replicas.rolling:
        said = f"all {replicas.wanted} replicas serve the current revision"
        return Condition(ConditionType.READY, True, "AllReplicasReady", said)
    if not servable.status:
        return Condition(ConditionType.READY, False, servable.reason, servable.message)
    if progressing.status or replicas.stuck:
        said = trouble or progressing.message
        return Condition(ConditionType.READY, False, progressing.reason, said)
    return Condition(ConditionType.READY, False, "ReplicasNotReady", trouble or servable.message)


def _degraded(replicas: Replicas, trouble: str) -> Condition:
    if trouble:
        return Condition(ConditionType.DEGRADED, True, "ReplicasFail", trouble)
    if replicas.stuck:
        return Condition(ConditionType.DEGRADED, True, STUCK, replicas.stuck)
    return Condition(ConditionType.DEGRADED, False, "NoTrouble", "no replica is in trouble")
