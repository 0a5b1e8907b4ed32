"""A node that the process kubelet plays: what it offers, its heartbeats, and what it set aside."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from kubelet.api import MERGE, RETRY_S, Api, ApiError, Object, Unreachable
from kubelet.pod_status import timestamp
from kubelet.resize import ResizePolicy, Room

HEARTBEAT_S = 10.0
LEASE_S = 40
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
GH200_LABELS = {
    "kubernetes.io/arch": "arm64",
    "nvidia.com/gpu.family": "hopper",
    "nvidia.com/gpu.product": "NVIDIA-GH200-480GB",
    "nvidia.com/gpu.memory": "97871",
    "nvidia.com/gpu.count": "1",
}


@dataclass
class Node:
    """One node; ``resize_policy`` may be changed while it runs."""

    name: str
    capacity: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, str] = field(default_factory=dict)
    resize_policy: ResizePolicy = ResizePolicy.GRANT
    ip: str = ""
    taken_by: Callable[[], Iterable[tuple[str, Mapping[str, Decimal]]]] = tuple
    """Requests of the node's pods, each with the pod's UID."""

    def __post_init__(self) -> None:
        self.allocatable = {**self.capacity, **self.allocatable}
        self._since = timestamp(datetime.now(UTC))

    @classmethod
    def gh200(cls, name: str, memory: str = "480Gi", **more: str) -> "Node":
        """A Grace Hopper node: 72 cores, ``memory`` of DRAM, one GPU."""
        capacity = {"cpu": "72", "memory": memory, "pods": "110", "nvidia.com/gpu": "1", **more}
        return cls(name, capacity, GH200_LABELS)

    def room_besides(self, uid: str) -> Room:
        """Return what is there for one pod when the others keep what they have."""
        taken: dict[str, Decimal] = {}
        for other, requests in self.taken_by():
            if other != uid:
                for name, amount in requests.items():
                    taken[name] = taken.get(name, Decimal(0)) + amount
        return Room(self.allocatable, taken)

    async def register(self, api: Api) -> None:
        """Create the Node object, or take over the one that is there, and say it is ready."""
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            **self.labels,
        }
        body: Object = {"metadata": {"name": self.name, "labels": labels}}
        try:
            await api.send("POST", "/api/v1/nodes", body | {"apiVersion": "v1", "kind": "Node"})
        except ApiError as error:
            if error.code != 409:
                raise
            await api.send("PATCH", f"/api/v1/nodes/{self.name}", body, MERGE)
        await self._tell(api)

    async def beat(self, api: Api) -> None:
        """Renew lease and status for ever: who was taken for dead is ready again."""
        while True:
            try:
                await self._renew(api)
                await asyncio.sleep(HEARTBEAT_S)
                await self._tell(api)
            except (ApiError, Unreachable):
                await asyncio.sleep(RETRY_S)

    async def remove(self, api: Api) -> None:
        for path in (f"/api/v1/nodes/{self.name}", f"{LEASES}/{self.name}"):
            try:
                await api.send("DELETE", path)
            except (ApiError, Unreachable):
                continue

    async def _tell(self, api: Api) -> None:
        now = timestamp(datetime.now(UTC))
        pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
        states = [(name, "False", "KubeletHasNo" + name) for name in pressures]
        conditions = [
            {
                "type": name,
                "status": status,
                "reason": reason,
                "message": "process kubelet",
                "lastHeartbeatTime": now,
                "lastTransitionTime": self._since,
            }
            for name, status, reason in [*states, ("Ready", "True", "KubeletReady")]
        ]
        status = {
            "capacity": dict(self.capacity),
            "allocatable": dict(self.allocatable),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": self.ip},
                {"type": "Hostname", "address": self.name},
            ],
            "nodeInfo": {
                "architecture": self.labels.get("kubernetes.io/arch", "amd64"),
                "operatingSystem": "linux",
                "kubeletVersion": "v1.35.0",
                "kubeProxyVersion": "",
                "containerRuntimeVersion": "process://1",
                "kernelVersion": "process",
                "osImage": "process kubelet",
                "machineID": self.name,
                "systemUUID": self.name,
                "bootID": self.name,
            },
        }
        await api.send("PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status}, MERGE)

    async def _renew(self, api: Api) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": LEASE_S, "renewTime": now}
        try:
            await api.send("PATCH", f"{LEASES}/{self.name}", {"spec": spec}, MERGE)
        except ApiError as error:
            if error.code != 404:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name},
                "spec": spec,
            }
            await api.send("POST", LEASES, lease)
