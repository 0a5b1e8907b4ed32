"""The probes of one run of a container, and its postStart hook."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kubelet.api import Object
from kubelet.checks import check, run_hook
from kubelet.pod_status import ContainerView
from kubelet.probe_counter import ProbeCounter
from kubelet.process import Process


@dataclass(frozen=True)
class Prober:
    """Keeps ``started`` and ``ready`` of the view right while the run lasts."""

    spec: Object
    process: Process
    address: str
    view: ContainerView
    changed: Callable[[], None]
    started: asyncio.Event
    unhealthy: Callable[[Object], Awaitable[bool]]
    """Called with the probe that says so; returns whether the run was ended."""

    async def run(self) -> None:
        if hook := self.spec.get("lifecycle", {}).get("postStart"):
            await run_hook(hook, self.process, self.address, self._ports)
        if probe := self.spec.get("startupProbe"):
            await self._probe(probe, self._startup)
        self.view.started = True
        self.view.ready = "readinessProbe" not in self.spec
        self.started.set()
        self.changed()
        async with asyncio.TaskGroup() as probes:
            if probe := self.spec.get("readinessProbe"):
                probes.create_task(self._probe(probe, self._readiness))
            if probe := self.spec.get("livenessProbe"):
                probes.create_task(self._probe(probe, self._liveness))

    @property
    def _ports(self) -> list[Object]:
        ports: list[Object] = self.spec.get("ports", [])
        return ports

    async def _probe(self, probe: Object, told: Callable[[bool, Object], Awaitable[bool]]) -> None:
        """Probe until ``told`` has heard enough."""
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        counter = ProbeCounter(probe.get("successThreshold", 1), probe.get("failureThreshold", 3))
        while True:
            timeout_s = probe.get("timeoutSeconds", 1)
            good, _ = await check(probe, self.process, self.address, self._ports, timeout_s)
            verdict = counter.observe(good)
            if verdict is not None and await told(verdict, probe):
                return
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _startup(self, good: bool, probe: Object) -> bool:
        return good or await self.unhealthy(probe)

    async def _readiness(self, good: bool, probe: Object) -> bool:
        if self.view.ready != good:
            self.view.ready = good
            self.changed()
        return False

    async def _liveness(self, good: bool, probe: Object) -> bool:
        return not good and await self.unhealthy(probe)
