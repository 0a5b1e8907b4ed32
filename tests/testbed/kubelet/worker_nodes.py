"""The worker half of a cluster: process kubelet and process kube-proxy together."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kubelet.host import Settings
from kubelet.node import Node
from kubelet.process_kubelet import ProcessKubelet
from service_proxy import ServiceProxy


@asynccontextmanager
async def worker_nodes(
    kubeconfig: Path, nodes: Sequence[Node], folder: Path, settings: Settings | None = None
) -> AsyncIterator[ProcessKubelet]:
    """Play ``nodes`` and make ClusterIPs work while the context lasts."""
    async with (
        ProcessKubelet.start(kubeconfig, nodes, folder, settings) as kubelet,
        ServiceProxy.start(kubeconfig, kubelet.bridge),
    ):
        yield kubelet
