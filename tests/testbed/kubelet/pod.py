"""One pod: sandbox, volumes, init containers, containers, and the end that was asked for."""

import asyncio
import logging
import shutil
from collections.abc import Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from kubelet.api import ApiError, Object, Unreachable
from kubelet.container import Container, Role, Surroundings
from kubelet.downward import Facts
from kubelet.fetch import Fetcher
from kubelet.host import Host
from kubelet.hosts import hosts_file, write_hosts
from kubelet.node import Node
from kubelet.patience import within
from kubelet.planning import Planner
from kubelet.pod_size import PodSize
from kubelet.pod_status import ContainerView, PodView, timestamp
from kubelet.resize import Condition
from kubelet.sandbox import Sandbox
from kubelet.sources import Missing
from kubelet.telling import Teller
from kubelet.volumes import Volumes

log = logging.getLogger(__name__)

RESOLVERS = "# Names come from /etc/hosts; there is no DNS here.\n"


class Pod:
    """Runs one pod until it is deleted; `update` tells it of changes in the API server."""

    def __init__(self, host: Host, node: Node, manifest: Object) -> None:
        self.node = node
        self._host = host
        meta = manifest["metadata"]
        self.uid: str = meta["uid"]
        self.namespace: str = meta["namespace"]
        self.name: str = meta["name"]
        self._folder = host.folder / "pods" / self.uid
        self.size = PodSize(node, manifest, host.settings.enforce_memory)
        self.containers: list[Container] = []
        self._init: list[Container] = []
        self._sandbox: Sandbox | None = None
        self._address = ""
        self._initialized = False
        self._finished = False
        self._failure: Condition | None = None
        self._start_time = timestamp(datetime.now(UTC))
        self._manifest = manifest
        self._teller = Teller(host.api, manifest, self._view)
        self._fetcher = Fetcher(host.api, manifest)
        self._volumes = Volumes(self._folder / "volumes", manifest)
        self._planner = Planner(host, self._folder, self._facts, self._fetcher, self._volumes)
        self._woken = asyncio.Event()
        self._ending = asyncio.Event()
        self._gone = False
        self._helpers: set[asyncio.Task[None]] = set()
        self.update(manifest)
        self.task = asyncio.create_task(self._run(), name=f"pod {self.namespace}/{self.name}")

    def update(self, manifest: Object) -> None:
        self._manifest = manifest
        self._teller.changed.set()
        self._woken.set()
        if manifest["metadata"].get("deletionTimestamp"):
            self._ending.set()

    def vanish(self) -> None:
        """The object is gone from the API server: end without telling."""
        self._gone = True
        self._ending.set()

    @property
    def all_containers(self) -> list[Container]:
        return [*self._init, *self.containers]

    @property
    def requests(self) -> Mapping[str, Decimal]:
        """What the pod takes of its node."""
        return {} if self._finished else self.size.requests

    async def _run(self) -> None:
        self._help(self._teller.run())
        try:
            await self._live_and_end()
        except Exception as error:
            await self._fail("ProcessKubeletError", repr(error))
        finally:
            for helper in self._helpers:
                helper.cancel()
            ends = (each.stop(0) for each in self.all_containers)
            await asyncio.gather(*self._helpers, *ends, return_exceptions=True)
            await self._close_sandbox()
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._gone:
            await self._teller.tell()
            await self._teller.confirm_deletion()

    async def _live_and_end(self) -> None:
        if lacking := self.size.lacking():
            await self._fail(f"OutOf{lacking[0]}", lacking[1])
            return
        living = self._help(self._live())
        ending = self._help(self._wait_for_end())
        await asyncio.wait({living, ending}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
            await ending
        living.cancel()
        await self._stop()

    async def _fail(self, reason: str, message: str) -> None:
        self._failure = Condition(reason, message)
        self._finished = True
        self._teller.changed.set()
        await self._ending.wait()

    async def _wait_for_end(self) -> None:
        await self._ending.wait()

    def _help(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something beside the pod, at the longest until the pod ends."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._note_failure)
        self._helpers.add(task)
        return task

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("pod %s/%s", self.namespace, self.name, exc_info=error)

    async def _live(self) -> None:
        """Start everything; returns when all containers have ended for good."""
        self._folder.mkdir(parents=True)
        hostname = self._manifest["spec"].get("hostname") or self.name
        sandbox = self._sandbox = await Sandbox.create(self._host.network, hostname)
        self._address = sandbox.address
        self._teller.changed.set()
        (self._folder / "resolv.conf").write_text(RESOLVERS)
        self._write_hosts()
        self._make_containers(sandbox)
        await self._make_volumes(sandbox)
        self._help(self._keep_up())
        if await self._initialize():
            for container in self.containers:
                container.begin()
            for container in self.containers:
                await container.finished()
        for container in reversed(self._init):
            await container.stop(self._grace_s)
        self._finished = True
        await self._close_sandbox()
        self._teller.changed.set()

    async def _initialize(self) -> bool:
        """Run the init containers in turn; return whether all of them succeeded."""
        for container in self._init:
            container.begin()
            if container.role is Role.SIDECAR:
                await container.started.wait()
            elif await container.finished():
                return False
        self._initialized = True
        self._teller.changed.set()
        return True

    def _make_containers(self, sandbox: Sandbox) -> None:
        spec = self._manifest["spec"]
        logs = self._host.folder / "logs" / f"{self.namespace}_{self.name}_{self.uid}"
        # Runs under an earlier kubelet, which died with all its containers, count too.
        known = {
            each["name"]: each["restartCount"] + 1
            for section in ("initContainerStatuses", "containerStatuses")
            for each in self._manifest.get("status", {}).get(section, ())
            if each.get("containerID")
        }
        for section, role, into in (
            ("initContainers", Role.INIT, self._init),
            ("containers", Role.MAIN, self.containers),
        ):
            for each in spec.get(section, ()):
                sidecar = role is Role.INIT and each.get("restartPolicy") == "Always"
                surroundings = Surroundings(
                    sandbox_pid=sandbox.pid,
                    address=sandbox.address,
                    restart_policy=spec.get("restartPolicy", "Always"),
                    grace_s=spec.get("terminationGracePeriodSeconds", 30),
                    backoff_s=self._host.settings.first_backoff_s,
                    folder=self._folder / "containers" / each["name"],
                    logs=logs / each["name"],
                    plan=self._planner.plan,
                    changed=self._teller.changed.set,
                )
                container = Container(
                    each,
                    Role.SIDECAR if sidecar else role,
                    surroundings,
                    known.get(each["name"], 0),
                )
                self.size.show(container)
                into.append(container)

    async def _make_volumes(self, sandbox: Sandbox) -> None:
        while True:
            try:
                await self._volumes.create(sandbox, self._facts(), await self._fetcher.sources())
                return
            except (Missing, ApiError, Unreachable) as error:
                log.info("pod %s/%s waits for volumes: %s", self.namespace, self.name, error)
            await asyncio.sleep(self._host.settings.sync_s)

    async def _keep_up(self) -> None:
        """Follow the API server: the pod's size, the names of Services, volumes."""
        while True:
            self._woken.clear()
            if await self.size.follow(self._manifest["spec"], self.containers):
                self._teller.changed.set()
                self._woken.set()
            self._write_hosts()
            try:
                self._volumes.refresh(self._facts(), await self._fetcher.sources())
            except (Missing, ApiError, Unreachable) as error:
                log.info("pod %s/%s: volumes stay: %s", self.namespace, self.name, error)
            await within(self._host.settings.sync_s, self._woken.wait())

    def _write_hosts(self) -> None:
        services, slices = self._host.services.items, self._host.slices.items
        text = hosts_file(self._manifest, self._address, services, slices)
        write_hosts(self._folder / "hosts", text)

    @property
    def _grace_s(self) -> float:
        asked = self._manifest["metadata"].get("deletionGracePeriodSeconds")
        default = self._manifest["spec"].get("terminationGracePeriodSeconds", 30)
        return float(default if asked is None else asked)

    async def _stop(self) -> None:
        """End the containers together, then the sidecars, the last begun first."""
        await asyncio.gather(*(each.stop(self._grace_s) for each in self.containers))
        for container in reversed(self._init):
            await container.stop(self._grace_s)

    async def _close_sandbox(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.close()

    def _facts(self) -> Facts:
        return Facts(self._manifest, self._address, self.node.ip, dict(self.node.allocatable))

    def _view(self) -> PodView:
        return PodView(
            manifest=self._manifest,
            node_ip=self.node.ip,
            pod_ip=self._address,
            start_time=self._start_time,
            initialized=self._initialized,
            init_containers=list(self._views("initContainers", self._init)),
            containers=list(self._views("containers", self.containers)),
            resize=self.size.state,
            failure=self._failure,
        )

    def _views(self, section: str, containers: list[Container]) -> Iterator[ContainerView]:
        made = {each.view.name: each.view for each in containers}
        for each in self._manifest["spec"].get(section, ()):
            name = each["name"]
            yield made.get(name) or ContainerView(name, each.get("image", ""))
