"""From a service's pods to the replicas that its controller speaks with."""

from collections.abc import Mapping
from typing import Any

from lightkube.utils.quantity import parse_quantity

from superinfer_operator.children import Seen
from superinfer_operator.ladder.view import Refusal, RefusalKind
from superinfer_operator.objects.pod import CONTAINER
from superinfer_operator.replica import PodMemory

PENDING = "PodResizePending"
IN_PROGRESS = "PodResizeInProgress"


def pod_memory(pod: Seen, refused: Refusal | None) -> PodMemory | None:
    """Return the memory of the pod's runtime container; None before its kubelet reports it.

    ``refused`` is what the API server itself said to our last wish, e.g. that a quota is used up.
    """
    limit = _memory_limit(_named(pod.get("spec", {}).get("containers", ())))
    granted = _memory_limit(_named(pod.get("status", {}).get("containerStatuses", ())))
    if limit is None or granted is None:
        return None
    generation = pod.get("metadata", {}).get("generation", 0)
    seen = pod.get("status", {}).get("observedGeneration", generation)
    return PodMemory(limit, granted, refused or _refusal(pod), caught_up=seen >= generation)


def _named(containers: Any) -> Mapping[str, Any]:
    return next((each for each in containers if each.get("name") == CONTAINER), {})


def _memory_limit(container: Mapping[str, Any]) -> int | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else int(parse_quantity(limit) or 0)


def _refusal(pod: Seen) -> Refusal | None:
    for condition in pod.get("status", {}).get("conditions", ()):
        kind, reason = condition.get("type"), condition.get("reason")
        if condition.get("status") != "True":
            continue
        said = condition.get("message") or "the kubelet gives no details"
        if kind == PENDING and reason in (RefusalKind.DEFERRED, RefusalKind.INFEASIBLE):
            return Refusal(RefusalKind(reason), said)
        if kind == IN_PROGRESS and reason == RefusalKind.ERROR:
            return Refusal(RefusalKind.ERROR, said)
    return None
