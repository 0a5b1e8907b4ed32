"""One container through all its runs: start, probe, end, restart."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from kubelet.api import Object
from kubelet.checks import run_hook
from kubelet.patience import within
from kubelet.pod_status import ContainerView, timestamp
from kubelet.probe_counter import CrashBackoff
from kubelet.prober import Prober
from kubelet.process import START_FAILED, Plan, Process, StartError

TERMINATION_BYTES = 4096
FALLBACK_BYTES = 2048
MINIMUM_GRACE_S = 2.0
"""What a container has after a preStop hook that used up the whole grace period."""
RETRY_S = 1.0


class Role(Enum):
    """When a container runs, and so whether it is restarted."""

    MAIN = "main"
    INIT = "init"
    SIDECAR = "sidecar"


class NotYet(Exception):
    """The container cannot be started now; the reason is for its status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Surroundings:
    """What a container has from its pod."""

    sandbox_pid: int
    address: str
    restart_policy: str
    grace_s: float
    backoff_s: float
    folder: Path
    logs: Path
    plan: Callable[[Object, Path], Awaitable[Plan]]
    """Makes the plan of a run, with the file for its termination message; raises NotYet."""
    changed: Callable[[], None]


class Container:
    """Runs one container of a pod; `view` always says how it is."""

    def __init__(self, spec: Object, role: Role, surroundings: Surroundings, runs: int) -> None:
        self.spec = spec
        self.role = role
        self.view = ContainerView(spec["name"], spec.get("image", ""), restart_count=runs)
        self.process: Process | None = None
        self.used_bytes = 0
        self._pod = surroundings
        for folder in (surroundings.folder / "root", self.cgroup, surroundings.logs):
            folder.mkdir(parents=True, exist_ok=True)
        self._backoff = CrashBackoff(surroundings.backoff_s)
        self._stopping = asyncio.Event()
        self._killed_for_memory = False
        self._restart_now = False
        self._task: asyncio.Task[None] | None = None
        self.started = asyncio.Event()

    @property
    def cgroup(self) -> Path:
        """What the container sees as its cgroup."""
        return self._pod.folder / "cgroup"

    def begin(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"container {self.view.name}")

    async def finished(self) -> int:
        """Wait for the last run; return its exit code."""
        if self._task is not None:
            await asyncio.shield(self._task)
        return int(self.view.state.get("terminated", {}).get("exitCode", 0))

    async def stop(self, grace_s: float) -> None:
        """End the container for good."""
        self._stopping.set()
        if self._task is None:
            return
        await self.end(grace_s)
        await self._task

    async def end(self, grace_s: float) -> None:
        """End this run: preStop, SIGTERM, and SIGKILL when the grace period is over."""
        process = self.process
        if process is None or not process.alive:
            return
        began = time.monotonic()
        hook = self.spec.get("lifecycle", {}).get("preStop")
        ports = self.spec.get("ports", [])
        if hook and grace_s > 0:
            await within(grace_s, run_hook(hook, process, self._pod.address, ports))
        if grace_s > 0:
            process.signal(signal.SIGTERM)
            left_s = grace_s - (time.monotonic() - began)
            await within(max(left_s, MINIMUM_GRACE_S) if hook else left_s, process.wait())
        process.kill()
        await process.wait()

    async def restart(self) -> None:
        """End this run and start the next at once."""
        self._restart_now = True
        await self.end(self._pod.grace_s)

    def kill_for_memory(self) -> None:
        if self.process is not None and self.process.alive:
            self._killed_for_memory = True
            self.process.kill()

    async def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                code = await self._run_once()
                if self._stopping.is_set() or not self._restarts(code):
                    return
                await self._back_off(self._backoff.after_run(time.monotonic() - began))
        finally:
            if self.process is not None and self.process.alive:
                self.process.kill()
                await self.process.wait()

    def _restarts(self, code: int) -> bool:
        if self.role is Role.SIDECAR:
            return True
        policy = self._pod.restart_policy
        if policy == "Always" and self.role is Role.MAIN:
            return True
        return policy != "Never" and code != 0

    async def _run_once(self) -> int:
        """Start the command and wait for its end; return its exit code."""
        message_file = self._pod.folder / "termination-log"
        message_file.write_text("")
        plan = await self._planned(message_file)
        if plan is None or self._stopping.is_set():
            return 0
        if "terminated" in self.view.state:
            self.view.last_state = self.view.state
        if self.view.last_state:
            self.view.restart_count += 1
        started_at = timestamp(datetime.now(UTC))
        log = self._pod.logs / f"{self.view.restart_count}.log"
        try:
            self.process = await Process.start(plan, self._pod.sandbox_pid, self._pod.folder, log)
        except StartError as error:
            self._terminated(START_FAILED, started_at, "StartError", str(error))
            return START_FAILED
        self.view.container_id = f"process://{self.process.pid}"
        self.view.state = {"running": {"startedAt": started_at}}
        self._pod.changed()
        if self._stopping.is_set():
            self.process.kill()
        prober = Prober(
            self.spec,
            self.process,
            self._pod.address,
            self.view,
            self._pod.changed,
            self.started,
            self._unhealthy,
        )
        watching = asyncio.create_task(prober.run())
        try:
            code = await self.process.wait()
        finally:
            watching.cancel()
        self.used_bytes = 0
        reason = "Error" if code else "Completed"
        if self._killed_for_memory:
            reason, self._killed_for_memory = "OOMKilled", False
        self._terminated(code, started_at, reason, self._last_words(code, message_file, log))
        return code

    async def _planned(self, message_file: Path) -> Plan | None:
        while not self._stopping.is_set():
            try:
                return await self._pod.plan(self.spec, message_file)
            except NotYet as reason:
                self._wait_because(reason.reason, str(reason))
                await within(RETRY_S, self._stopping.wait())
        return None

    async def _back_off(self, wait_s: float) -> None:
        if self._restart_now or wait_s == 0:
            self._restart_now = False
            return
        self._wait_because(
            "CrashLoopBackOff",
            f"back-off {wait_s:g}s restarting failed container={self.view.name}",
        )
        await within(wait_s, self._stopping.wait())

    def _wait_because(self, reason: str, message: str) -> None:
        if "terminated" in self.view.state:
            self.view.last_state = self.view.state
        self.view.state = {"waiting": {"reason": reason, "message": message}}
        self._pod.changed()

    def _terminated(self, code: int, started_at: str, reason: str, message: str) -> None:
        self.view.ready = self.view.started = False
        self.view.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "message": message or None,
                "startedAt": started_at,
                "finishedAt": timestamp(datetime.now(UTC)),
                "containerID": self.view.container_id or None,
            }
        }
        self._pod.changed()

    def _last_words(self, code: int, message_file: Path, log: Path) -> str:
        said = message_file.read_bytes()[:TERMINATION_BYTES]
        if not said and code and self.spec.get("terminationMessagePolicy") != "File":
            said = log.read_bytes()[-FALLBACK_BYTES:]
        return said.decode(errors="replace")

    async def _unhealthy(self, probe: Object) -> bool:
        """End a run that a probe gave up; while the pod ends, nothing is restarted any more."""
        if self._stopping.is_set():
            return False
        await self.end(probe.get("terminationGracePeriodSeconds", self._pod.grace_s))
        return True
