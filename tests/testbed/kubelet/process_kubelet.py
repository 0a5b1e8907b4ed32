"""The kubelet: plays nodes, and runs the pods that the scheduler binds to them.

    async with ProcessKubelet.start(kubeconfig, nodes=[Node.gh200("gh-0")], folder=tmp) as kubelet:
        ...

It works in the caller's event loop: who blocks the loop stops the kubelet.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from kubelet.api import Api, ApiError, Object, Unreachable
from kubelet.cache import Cache
from kubelet.container import Container
from kubelet.host import Host, Settings
from kubelet.leftovers import require_tools, sweep
from kubelet.memory import usage_bytes
from kubelet.network import Network
from kubelet.node import Node
from kubelet.pod import Pod

MEMORY_PERIOD_S = 0.5
FINAL_PHASES = ("Succeeded", "Failed")


class ProcessKubelet:
    """All nodes of one testbed and their pods."""

    def __init__(self, host: Host, nodes: Sequence[Node]) -> None:
        self._host = host
        self.nodes = {node.name: node for node in nodes}
        self._pods: dict[str, Pod] = {}

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        kubeconfig: Path,
        nodes: Sequence[Node],
        folder: Path,
        settings: Settings | None = None,
    ) -> AsyncIterator["ProcessKubelet"]:
        """Register the nodes and run their pods while the context lasts; logs stay in folder."""
        require_tools()
        sweep()
        settings = settings or Settings()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        image = {"PATH": path, "HOME": "/root", **settings.environment}
        api = Api(kubeconfig)
        network = await Network.create()
        host = Host(
            api,
            network,
            Cache(api, "/api/v1/services"),
            Cache(api, "/apis/discovery.k8s.io/v1/endpointslices"),
            folder,
            replace(settings, environment=image),
        )
        kubelet = cls(host, nodes)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each) for each in await kubelet._work()]
                try:
                    await host.services.synced.wait()
                    yield kubelet
                finally:
                    for task in tasks:
                        task.cancel()
                    await kubelet._end()
        finally:
            network.close()
            await api.close()

    @property
    def bridge(self) -> str:
        """The network device of the pods; the Service proxy listens there."""
        return self._host.network.bridge

    def pod(self, namespace: str, name: str) -> Pod:
        """Return the running pod of that name.

        Raises:
            LookupError: no node here runs it.
        """
        for pod in self._pods.values():
            if (pod.namespace, pod.name) == (namespace, name):
                return pod
        raise LookupError(f"no node here runs the pod {namespace}/{name}")

    def pid_of(self, namespace: str, pod: str, container: str | None = None) -> int:
        """Return the process id of a container's command; the first container's by default."""
        process = self._container(namespace, pod, container).process
        if process is None or not process.alive:
            raise LookupError(f"{namespace}/{pod}: {container or 'the container'} is not running")
        return process.pid

    async def kill(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        number: int = signal.SIGKILL,
    ) -> None:
        """Send a signal to a container's command, as a fault would."""
        os.kill(self.pid_of(namespace, pod, container), number)

    def logs(self, namespace: str, pod: str, container: str | None = None) -> str:
        """Return what a container wrote, all runs after another; also after the pod's end."""
        texts = []
        for folder in sorted(self._host.folder.glob(f"logs/{namespace}_{pod}_*")):
            for path in sorted(folder.rglob("*.log"), key=lambda path: int(path.stem)):
                if container in (None, path.parent.name):
                    texts.append(path.read_text(errors="replace"))
        return "".join(texts)

    async def _work(self) -> list[Coroutine[Any, Any, None]]:
        api = self._host.api
        work = [self._host.services.run(), self._host.slices.run(), self._watch_memory()]
        for node in self.nodes.values():
            node.ip = await self._host.network.add_node()
            node.taken_by = partial(self._requests, node.name)
            await node.register(api)
            selector = {"fieldSelector": f"spec.nodeName={node.name}"}
            work += [node.beat(api), Cache(api, "/api/v1/pods", selector, self._take).run()]
        return work

    def _requests(self, node: str) -> list[tuple[str, Mapping[str, Decimal]]]:
        return [(pod.uid, pod.requests) for pod in self._pods.values() if pod.node.name == node]

    def _take(self, manifest: Object, gone: bool) -> None:
        """Hear of a pod from the API server."""
        uid = manifest["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is not None:
            known.vanish() if gone else known.update(manifest)
        elif not gone and manifest.get("status", {}).get("phase") not in FINAL_PHASES:
            pod = Pod(self._host, self.nodes[manifest["spec"]["nodeName"]], manifest)
            self._pods[uid] = pod
            pod.task.add_done_callback(lambda _: self._pods.pop(uid, None))

    def _container(self, namespace: str, pod: str, name: str | None) -> Container:
        for container in self.pod(namespace, pod).all_containers:
            if name in (None, container.view.name):
                return container
        raise LookupError(f"{namespace}/{pod} has no container {name!r}")

    async def _watch_memory(self) -> None:
        while True:
            running = {}
            for pod in self._pods.values():
                for container in pod.all_containers:
                    if container.process is not None and container.process.alive:
                        running[container.process.pid_namespace] = (pod, container)
            running.pop(0, None)
            for namespace, used in usage_bytes(running.keys()).items():
                pod, container = running[namespace]
                pod.size.note_use(container, used)
            await asyncio.sleep(MEMORY_PERIOD_S)

    async def _end(self) -> None:
        """The machine goes: its pods die at once, and its objects leave the API server."""
        pods = list(self._pods.values())
        for pod in pods:
            pod.task.cancel()
        await asyncio.gather(*(pod.task for pod in pods), return_exceptions=True)
        for pod in pods:
            try:
                path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
                body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod.uid}}
                await self._host.api.send("DELETE", path, body)
            except (ApiError, Unreachable):
                continue
        for node in self.nodes.values():
            await node.remove(self._host.api)
