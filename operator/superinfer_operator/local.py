"""`up`: the operator's loop over one process on this box.

The order of the start makes failures cheap: bounds and memory first, then the ports, then the
child. The order of the end is its reverse, in ``finally`` blocks and contexts, so whatever happens
(a signal, a crash, a port that is taken, a runtime that never gets ready) no process, no socket and
no secret is left.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from superinfer_contract import exit_codes
from superinfer_contract.service import SuperInferService

from superinfer_operator.child import Child
from superinfer_operator.control import Controller
from superinfer_operator.events import EventLog
from superinfer_operator.local_page import look_at, shown_on_a_page
from superinfer_operator.observe import stale_s
from superinfer_operator.replica import Replica
from superinfer_operator.restart import (
    NOT_RETRIED,
    RestartRule,
    backoff_s,
    count_quick,
    gives_up,
)
from superinfer_operator.runtime_client import RuntimeClient
from superinfer_operator.runtime_file import Wiring, write_config
from superinfer_operator.screen import Screen
from superinfer_operator.status import Phase, View
from superinfer_operator.status_page.board import Board
from superinfer_operator.telemetry.authentication import one_token
from superinfer_operator.telemetry.http_server import bind
from superinfer_operator.telemetry.ingest import Intake
from superinfer_operator.telemetry.points import Point, Source
from superinfer_operator.telemetry.receiver import serving
from superinfer_operator.telemetry.rejection import Rejected
from superinfer_operator.telemetry.windows import Snapshot, Windows

RUNTIME_COMMAND = (sys.executable, "-m", "superinfer_runtime", "serve")
LOOPBACK = "127.0.0.1"
STOP_MARGIN_S = 10.0
POLL_S = 0.2
ANY_ADDRESS = {"0.0.0.0": LOOPBACK, "::": "[::1]"}


class UpFailed(Exception):
    """`up` cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """How `up` runs its one process."""

    port: int
    host: str = LOOPBACK
    otlp_port: int = 0  # 0: any free one
    api_key_file: Path | None = None
    command: Sequence[str] = RUNTIME_COMMAND
    start_timeout_s: float = 1800.0
    status_port: int | None = None  # None: no status page; 0: any free port
    status_host: str = LOOPBACK
    stop_margin_s: float = STOP_MARGIN_S
    turn_s: float = 1.0
    restart: RestartRule = field(default_factory=RestartRule)


@dataclass(frozen=True, slots=True)
class Stop:
    """A person's wish to end: first ``asked``, and at the second time ``at_once``."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self) -> None:
        (self.at_once if self.asked.is_set() else self.asked).set()


async def up(
    service: SuperInferService, options: Options, screen: Screen, events: EventLog, stop: Stop
) -> int:
    """Run ``service`` until ``stop`` is asked; returns the exit code.

    Raises:
        UpFailed: a port is taken, the runtime does not get ready, or it crashes again and again.
        OSError: the status page's port is taken.
    """
    windows = Windows(service.spec.budget.window_s, stale_s(service.spec))
    admin_token, otlp_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="superinfer-"))
        stack.enter_context(screen.shown())
        _check_port(options)
        board = await stack.enter_async_context(
            shown_on_a_page(options.status_host, options.status_port, screen.say)
        )
        try:
            listener = bind(LOOPBACK, options.otlp_port)
        except OSError as error:
            raise UpFailed(
                f"the telemetry receiver cannot listen on port {options.otlp_port}: "
                f"{error.strerror}; give another --otlp-port"
            ) from error

        def sink(points: list[Point]) -> Rejected:
            return windows.add(points, time.monotonic())

        def snapshot(_: str, now_s: float) -> Snapshot:
            return _freshest(windows, service.metadata.name, now_s)

        intake = Intake(one_token(otlp_token, service.metadata.name), sink)
        async with serving(intake, listener) as endpoint:
            instance = {"service.instance.id": f"{service.metadata.name}-0"}
            wiring = Wiring(
                options.host,
                options.port,
                Path(name),
                endpoint,
                instance,
                api_key_file=options.api_key_file,
            )
            config = write_config(service, wiring, admin_token, otlp_token)
            host = ANY_ADDRESS.get(options.host, options.host)
            view = View(
                name=service.metadata.name,
                mode=service.spec.mode,
                url=f"http://{host}:{options.port}",
                classes=service.spec.slo_classes,
                phase=Phase.STARTING,
            )
            async with RuntimeClient(view.url, admin_token) as runtime:
                replica = Replica(f"{service.metadata.name}-0", runtime)
                controller = Controller(_alone(service), snapshot, time.monotonic)
                life = _Life(
                    service, options, screen, events, stop, replica, controller, view, board
                )
                return await life.keep_alive([*options.command, "--config", str(config)])


def _check_port(options: Options) -> None:
    """Refuse a taken port before the model is loaded; another server there must not be taken for
    the runtime."""
    try:
        bind(options.host, options.port).close()
    except OSError as error:
        raise UpFailed(
            f"port {options.port} on {options.host} cannot be used: {error.strerror}; "
            "stop what listens there or give another --port"
        ) from error


def _alone(service: SuperInferService) -> SuperInferService:
    """The same service without what it takes Kubernetes for: one process on one box."""
    spec = service.spec
    alone = spec.model_copy(
        update={
            "autoscaling": None,
            "placement": spec.placement.model_copy(update={"share_group": None}),
            "kv_cache": spec.kv_cache.model_copy(update={"policy": "Ceiling"}),
        }
    )
    return service.model_copy(update={"spec": alone})


def _freshest(windows: Windows, service: str, now_s: float) -> Snapshot:
    """What the latest process reported: after a restart the one before may linger."""
    sources = windows.sources(service) or [Source(service, "")]
    found = [windows.snapshot(source, now_s) for source in sources]
    return min(found, key=lambda each: float("inf") if each.age_s is None else each.age_s)


@dataclass(slots=True)
class _Life:
    """The runtime's lives, one process after the other."""

    service: SuperInferService
    options: Options
    screen: Screen
    events: EventLog
    stop: Stop
    replica: Replica
    controller: Controller
    view: View
    board: Board

    async def keep_alive(self, command: Sequence[str]) -> int:
        quick_crashes, rule = 0, self.options.restart
        while True:
            started_s = time.monotonic()
            code, said = await self._live_once(command)
            if self.stop.asked.is_set():
                return exit_codes.OK
            if code in NOT_RETRIED:
                self.screen.say(f"the runtime refuses its configuration: {said}")
                return exit_codes.CONFIG
            quick_crashes = count_quick(rule, quick_crashes, time.monotonic() - started_s)
            fate = f"the runtime {_ending(code)}" + (f": {said}" if said else "")
            if gives_up(rule, quick_crashes):
                raise UpFailed(f"{fate}; given up after {quick_crashes} crashes in a row")
            pause_s = backoff_s(rule, quick_crashes)
            self.screen.say(f"{fate}; starting it again in {pause_s:g} s")
            self._show(phase=Phase.RESTARTING, restarts=self.view.restarts + 1, turn=None)
            await _within(self.stop.asked, pause_s)
            if self.stop.asked.is_set():
                return exit_codes.OK

    async def _live_once(self, command: Sequence[str]) -> tuple[int, str]:
        """Run one process to its end; returns its exit code and its last words."""
        try:
            child = await Child.start(command, _environment(os.environ), self.screen.say)
        except OSError as error:
            raise UpFailed(f"{command[0]} cannot be started: {error.strerror}") from error
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(child.wait()),
            asyncio.create_task(self.stop.asked.wait()),
            asyncio.create_task(self._control()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[2].done():
                tasks[2].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            code = await self._end(child)
        return code, child.last_error_line

    async def _end(self, child: Child) -> int:
        if self.stop.asked.is_set():
            self._show(phase=Phase.STOPPING)
        grace_s = self.service.spec.server.drain_s + self.options.stop_margin_s
        ending = asyncio.create_task(child.stop(grace_s))
        hurry = asyncio.create_task(self.stop.at_once.wait())
        try:
            await asyncio.wait([ending, hurry], return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            if not ending.done():
                child.kill()
        return await ending

    async def _control(self) -> None:
        """Wait until the runtime is ready, then take turns for ever."""
        deadline_s = time.monotonic() + self.options.start_timeout_s
        self._show(phase=Phase.STARTING, turn=None)
        while not await self.replica.runtime.is_ready():
            if time.monotonic() > deadline_s:
                raise UpFailed(
                    f"the runtime was not ready within {self.options.start_timeout_s:g} s; "
                    "look at its output above, or give a longer --start-timeout"
                )
            live = await self.replica.runtime.is_live()
            self._show(phase=Phase.LOADING if live else Phase.STARTING)
            await asyncio.sleep(POLL_S)
        while True:
            turn = await self.controller.turn([self.replica])
            self.events.turned(turn)
            self._show(phase=Phase.READY, turn=turn)
            await asyncio.sleep(self.options.turn_s)

    def _show(self, **changes: object) -> None:
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]
        self.screen.show(self.view)
        self.board.looked(self.view.name, look_at(self.service, self.view))


async def _within(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Our environment, with the loopback exempt from proxies: telemetry goes there."""
    bypass = ",".join(part for part in (own.get("NO_PROXY", ""), LOOPBACK, "localhost") if part)
    return {**own, "NO_PROXY": bypass, "no_proxy": bypass}


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    cause = " (out of memory is the usual cause)" if name == "SIGKILL" else ""
    return f"was ended by {name}{cause}"
