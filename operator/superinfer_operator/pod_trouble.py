"""What keeps a pod from serving, in the words of whoever knows: scheduler, kubelet, or the runtime.

The runtime writes its last error to its termination message, so a rejected configuration or a
model that does not fit reads here as it would on a terminal.
"""

from collections.abc import Mapping
from typing import Any

from superinfer_contract import exit_codes

from superinfer_operator.children import Seen, is_ready, is_terminating
from superinfer_operator.objects.pod import CONTAINER

ENDS_BY_ITSELF = ("ContainerCreating", "PodInitializing")


def trouble_of(pod: Seen) -> str | None:
    """Return what is wrong with ``pod``, or None while it serves, starts or ends as it should."""
    if is_terminating(pod) or is_ready(pod):
        return None
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"not scheduled: {condition.get('message') or condition.get('reason')}"
    starting = [each for each in status.get("initContainerStatuses", ()) if not _is_done(each)]
    for container in (*starting, *status.get("containerStatuses", ())):
        said = _container_trouble(container)
        if said is not None:
            return said
    if status.get("phase") == "Failed":
        return f"failed: {status.get('message') or status.get('reason') or 'no reason given'}"
    return None


def _is_done(init_container: Mapping[str, Any]) -> bool:
    ended = init_container.get("state", {}).get("terminated", {})
    return bool(ended.get("exitCode") == exit_codes.OK)


def _container_trouble(container: Mapping[str, Any]) -> str | None:
    state, last = container.get("state", {}), container.get("lastState", {})
    if "running" in state and container.get("started"):
        return None  # however its last life ended, it has started well since
    ended = state.get("terminated") or last.get("terminated")
    waiting = state.get("waiting", {})
    reason = waiting.get("reason", "")
    name = container.get("name")
    if ended is not None:
        restarts = container.get("restartCount", 0)
        said = _ending("the runtime" if name == CONTAINER else f"container {name}", ended)
        return f"{said} (restarted {restarts} times)"
    if reason and reason not in ENDS_BY_ITSELF:
        whose = "" if name == CONTAINER else f"container {name}: "
        return f"{whose}{reason}: {waiting.get('message') or 'no details given'}"
    return None


def _ending(who: str, ended: Mapping[str, Any]) -> str:
    message = " ".join(str(ended.get("message") or "").split())
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        what_to_do = "raise spec.resources.memory or lower spec.kvCache.dram.max"
        return f"{who} ran out of memory: {what_to_do}"
    if code == exit_codes.CONFIG:
        return f"{who} refuses its configuration: {message or 'see its log'}"
    return f"{who} ended with exit code {code}" + (f": {message}" if message else "")
