"""From what a pod's containers do to the status that the API server is told: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kubelet.api import Object
from kubelet.resize import Condition, ResizeState


@dataclass
class ContainerView:
    """One container as its status shows it."""

    name: str
    image: str
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    restart_count: int = 0
    container_id: str = ""
    started: bool = False
    ready: bool = False


@dataclass(frozen=True)
class PodView:
    """One pod as its status shows it."""

    manifest: Object
    node_ip: str
    pod_ip: str
    start_time: str
    initialized: bool
    init_containers: Sequence[ContainerView]
    containers: Sequence[ContainerView]
    resize: ResizeState
    failure: Condition | None = None


def timestamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(view: PodView) -> str:
    if view.failure:
        return "Failed"
    if not view.initialized:
        failed = any(_failed_for_good(view, each) for each in view.init_containers)
        return "Failed" if failed else "Pending"
    if any("waiting" in each.state and not each.last_state for each in view.containers):
        return "Pending"
    ended = [each.state.get("terminated") for each in view.containers]
    policy = view.manifest["spec"].get("restartPolicy", "Always")
    sidecars = any("running" in each.state for each in view.init_containers)
    if policy == "Always" or sidecars or not all(ended):
        return "Running"
    if all(each["exitCode"] == 0 for each in ended if each):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _failed_for_good(view: PodView, init: ContainerView) -> bool:
    ended = init.state.get("terminated")
    never = view.manifest["spec"].get("restartPolicy") == "Never"
    return bool(never and ended and ended["exitCode"])


def status(view: PodView, before: Object, now: str) -> Object:
    """Return the whole status of the pod as its kubelet owns it; ``before`` is the last told."""
    spec = view.manifest["spec"]
    waiting = [each.name for each in view.containers if not each.ready]
    containers_ready = not waiting and view.initialized
    message = f"containers with unready status: [{' '.join(waiting)}]"
    gates = {each["conditionType"] for each in spec.get("readinessGates", ())}
    told = {
        each["type"]: each["status"]
        for each in view.manifest.get("status", {}).get("conditions", ())
    }
    gated = sorted(gate for gate in gates if told.get(gate) != "True")
    conditions = {
        "PodReadyToStartContainers": _condition(bool(view.pod_ip)),
        "Initialized": _condition(view.initialized, "ContainersNotInitialized"),
        "ContainersReady": _condition(containers_ready, "ContainersNotReady", message),
        "Ready": _condition(
            containers_ready and not gated,
            "ReadinessGatesNotReady" if containers_ready else "ContainersNotReady",
            f"corresponding condition of pod readiness gate {gated}" if gated else message,
        ),
    }
    for name, told_of in (
        ("PodResizePending", view.resize.pending),
        ("PodResizeInProgress", view.resize.in_progress),
    ):
        if told_of:
            conditions[name] = _condition(True) | _words(told_of)
    generation = view.manifest["metadata"].get("generation")
    for name, condition in conditions.items():
        condition |= {"type": name, "observedGeneration": generation}
    addresses = [{"ip": view.pod_ip}] if view.pod_ip else []
    return {
        "phase": phase(view),
        "reason": view.failure.reason if view.failure else None,
        "message": view.failure.message if view.failure else None,
        "observedGeneration": generation,
        "startTime": view.start_time,
        "hostIP": view.node_ip,
        "hostIPs": [{"ip": view.node_ip}],
        "podIP": view.pod_ip or None,
        "podIPs": addresses,
        "conditions": _dated(before, conditions, now),
        "initContainerStatuses": [_container_status(each, None) for each in view.init_containers],
        "containerStatuses": [_container_status(each, view.resize) for each in view.containers],
    }


def patch(uid: str, new: Object, before: Object) -> Object:
    """Return the strategic merge patch that makes a pod's status the new one."""
    there = {each["type"] for each in before.get("conditions", ())}
    stated = {each["type"] for each in new["conditions"]}
    gone = [
        {"type": name, "$patch": "delete"}
        for name in ("PodResizePending", "PodResizeInProgress")
        if name in there - stated
    ]
    return {
        "metadata": {"uid": uid},
        "status": new | {"conditions": new["conditions"] + gone},
    }


def _condition(true: bool, reason: str = "", message: str = "") -> Object:
    if true:
        return {"status": "True", "reason": None, "message": None}
    return {"status": "False", "reason": reason or None, "message": message or None}


def _words(condition: Condition) -> Object:
    return {"reason": condition.reason or None, "message": condition.message or None}


def _dated(before: Object, conditions: Mapping[str, Object], now: str) -> list[Object]:
    """Give every condition the time at which its status last changed."""
    told = {each["type"]: each for each in before.get("conditions", ())}
    dated = []
    for name, condition in conditions.items():
        old = told.get(name, {})
        same = old.get("status") == condition["status"] and "lastTransitionTime" in old
        dated.append(condition | {"lastTransitionTime": old["lastTransitionTime"] if same else now})
    return dated


def _container_status(view: ContainerView, resize: ResizeState | None) -> Object:
    told: Object = {
        "name": view.name,
        "image": view.image,
        "imageID": f"process://{view.image}",
        "state": view.state,
        "lastState": view.last_state,
        "restartCount": view.restart_count,
        "started": view.started,
        "ready": view.ready,
    }
    if view.container_id:
        told["containerID"] = view.container_id
    if resize is not None:
        told["allocatedResources"] = resize.allocated[view.name].get("requests", {})
        told["resources"] = resize.actual[view.name]
    return told
