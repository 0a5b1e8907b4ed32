"""A cluster on this machine: control plane, GH200 nodes, and the operator as users install it.

The operator runs as a pod under its own ServiceAccount, from the files that users apply. The
image's part is played by this machine: containers run its programs.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane import ControlPlane
from kubelet.host import Settings
from kubelet.node import Node
from kubelet.process_kubelet import ProcessKubelet
from kubelet.worker_nodes import worker_nodes

ROOT = Path(__file__).resolve().parents[2]
OPERATOR_NAMESPACE = "superinfer-system"
OPERATOR = "superinfer-operator"
SIGNING_SECRET = "superinfer-operator-signing"
LIGHT_RUNTIME = Path(__file__).with_name("light_runtime.py")
POLL_S = 0.2
LOG_TAIL_CHARS = 4000

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster; made by `start`."""

    control_plane: ControlPlane
    kubelet: ProcessKubelet

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, nodes: Sequence[str] = ("gh200-0", "gh200-1"), **settings: Any
    ) -> AsyncIterator["Cluster"]:
        """Start control plane and nodes; logs stay in ``folder``."""
        played = [Node.gh200(name) for name in nodes]
        async with (
            ControlPlane.start(folder / "control-plane") as control_plane,
            worker_nodes(
                control_plane.kubeconfig(), played, folder / "kubelet", Settings(**settings)
            ) as kubelet,
        ):
            yield cls(control_plane, kubelet)

    async def install_operator(self) -> None:
        """Install by the commands of the README, and wait until the operator runs."""
        await self.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        await self.kubectl("apply", "--server-side", "-f", str(ROOT / "deploy"))
        await self.kubectl(
            *("-n", OPERATOR_NAMESPACE, "create", "secret", "generic", SIGNING_SECRET),
            f"--from-literal=key={secrets.token_hex(32)}",
        )
        await self.kubectl(
            *("-n", OPERATOR_NAMESPACE, "rollout", "status", "deployment", OPERATOR),
            "--timeout=90s",
        )

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Run kubectl beside the event loop.

        Raises:
            AssertionError: it failed; the message is kubectl's.
        """
        return await asyncio.to_thread(self.control_plane.kubectl, *arguments, input=input)

    async def apply(self, *objects: Object) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        await self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(listed))

    async def get(self, namespace: str, kind: str, name: str) -> Object:
        """Return an object, empty when it is not there."""
        told = await self.kubectl(
            "-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "json"
        )
        found: Object = json.loads(told) if told.strip() else {}
        return found

    async def items(self, namespace: str, kinds: str, selector: str = "") -> list[Object]:
        told = await self.kubectl("-n", namespace, "get", kinds, "-l", selector, "-o", "json")
        found: list[Object] = json.loads(told)["items"]
        return found

    async def until(
        self,
        namespace: str,
        kind: str,
        name: str,
        met: Callable[[Object], object],
        timeout_s: float = 60.0,
    ) -> Object:
        """Return the object once ``met`` holds of it.

        Raises:
            AssertionError: it did not in time; the message shows the object.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            found = await self.get(namespace, kind, name)
            if met(found):
                return found
            if time.monotonic() > deadline_s:
                shown = json.dumps({**found, "spec": None}, indent=1)
                raise AssertionError(f"waited {timeout_s:g} s in vain for {kind} {name}: {shown}")
            await asyncio.sleep(POLL_S)

    async def pods_of(self, namespace: str, service: str) -> list[Object]:
        """Return a service's pods that are to stay: not those that end or have ended."""
        pods = await self.items(namespace, "pods", f"superinfer.dev/service={service}")
        return [
            pod
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and pod["status"].get("phase") in ("Pending", "Running")
        ]

    async def operator_pod(self) -> str:
        """Return the name of the operator's running pod."""
        while True:
            for pod in await self.items(
                OPERATOR_NAMESPACE, "pods", f"app.kubernetes.io/name={OPERATOR}"
            ):
                ready = condition(pod, "Ready").get("status") == "True"
                if ready and "deletionTimestamp" not in pod["metadata"]:
                    return str(pod["metadata"]["name"])
            await asyncio.sleep(POLL_S)

    def logs(self, namespace: str) -> str:
        """Return the end of what pods there and the operator have printed."""
        namespaces = (namespace, OPERATOR_NAMESPACE)
        return "".join(self.kubelet.logs(each, "*")[-LOG_TAIL_CHARS:] for each in namespaces)

    async def address(self, namespace: str, service: str) -> str:
        """Return the URL of a Service by its ClusterIP."""
        found = await self.get(namespace, "service", service)
        return f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}"


def condition(item: Object, kind: str) -> Object:
    """Return the condition of that type, empty where there is none."""
    for each in item.get("status", {}).get("conditions") or ():
        if each["type"] == kind:
            found: Object = each
            return found
    return {}


def holds(*kinds: str) -> Callable[[Object], bool]:
    """Whether all these conditions are True for the object's current generation."""
    return lambda item: all(
        condition(item, kind).get("status") == "True"
        and condition(item, kind).get("observedGeneration") == item["metadata"]["generation"]
        for kind in kinds
    )


def light_service(name: str, namespace: str, *flags: str, **spec: Any) -> Object:
    """Return a SuperInferService whose pods run the light runtime, with quick budgets."""
    command = [sys.executable, str(LIGHT_RUNTIME), *flags]
    container = {
        "name": "runtime",
        "command": [*command, "--config", "/etc/superinfer/config/runtime.json"],
        "readinessProbe": {"periodSeconds": 1},
        "startupProbe": {"periodSeconds": 1},
    }
    return {
        "apiVersion": "superinfer.dev/v1alpha1",
        "kind": "SuperInferService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "sloClasses": [
                {"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1, "default": True},
                {"name": "batch", "ttftSeconds": 10, "tbtSeconds": 1, "weight": 0.1},
            ],
            "resources": {"gpus": 1, "memory": "512Mi"},
            "kvCache": {
                "hbm": {"min": "8Mi", "max": "8Mi"},
                "dram": {"min": "8Mi", "initial": "8Mi", "max": "64Mi", "step": "8Mi"},
                "slab": "1Mi",
            },
            "server": {"drainSeconds": 5},
            "rollout": {"startTimeoutSeconds": 60},
            "telemetry": {"intervalSeconds": 1},
            "budget": {
                "windowSeconds": 3,
                "minEvents": 3,
                "cooldownSeconds": 1,
                "timeoutSeconds": 8,
                "shrinkAfterSeconds": 3,
                "maxStepsPerHour": 100,
            },
            "podTemplate": {"spec": {"containers": [container]}},
            **spec,
        },
    }
