"""Objects of one namespace, as a test writes them and waits for them."""

import json
import time
from collections.abc import Callable

from control_plane import ControlPlane
from kubelet.api import Object

WAIT_S = 60.0
POLL_S = 0.1


class ClusterObjects:
    """kubectl for one namespace, with dictionaries."""

    def __init__(self, control_plane: ControlPlane, namespace: str) -> None:
        self._control_plane = control_plane
        self.namespace = namespace

    def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", input=json.dumps(listed))

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self._control_plane.kubectl("--namespace", self.namespace, *arguments, input=input)

    def get(self, kind: str, name: str) -> Object | None:
        text = self.kubectl("get", kind, name, "--ignore-not-found", "--output=json")
        found: Object | None = json.loads(text) if text else None
        return found

    def items(self, kind: str, selector: str = "") -> list[Object]:
        text = self.kubectl("get", kind, f"--selector={selector}", "--output=json")
        found: list[Object] = json.loads(text)["items"]
        return found

    def until(self, kind: str, name: str, met: Callable[[Object], object]) -> Object:
        """Return the object when ``met`` finds in it what the test waits for."""
        found: Object | None = None
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            found = self.get(kind, name)
            if found is not None and met(found):
                return found
            time.sleep(POLL_S)
        raise AssertionError(f"waited in vain for {kind} {name}: {json.dumps(found, indent=1)}")

    def until_gone(self, kind: str, name: str) -> None:
        self.kubectl("wait", kind, name, "--for=delete", f"--timeout={WAIT_S:g}s")

    def until_ready(self, name: str) -> Object:
        return self.until("pod", name, is_ready)


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def condition(item: Object, kind: str) -> Object:
    """Return the condition of that type, empty where there is none."""
    for each in item.get("status", {}).get("conditions", ()):
        if each["type"] == kind:
            found: Object = each
            return found
    return {}


def container_status(pod: Object) -> Object:
    """Return the first container's status, empty before there is one."""
    for each in pod.get("status", {}).get("containerStatuses", ()):
        found: Object = each
        return found
    return {}


def pod(name: str, *command: str, labels: dict[str, str] | None = None, **more: object) -> Object:
    """Return a pod of one container; ``more`` are fields of the container."""
    container = {"name": "main", "image": "machine", "command": list(command), **more}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
