"""`superinfer-operator up` with a true child process, true HTTP and true OTLP over loopback."""

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from superinfer_contract import exit_codes
from superinfer_contract.service import SuperInferService
from superinfer_operator.events import EventLog
from superinfer_operator.local import Options, Stop, UpFailed, up
from superinfer_operator.restart import RestartRule
from superinfer_operator.screen import Screen
from superinfer_operator.telemetry.http_server import bind

FAKE = Path(__file__).with_name("fake_runtime.py")
MIB = 2**20


def service(**spec: Any) -> SuperInferService:
    return SuperInferService.model_validate(
        {
            "apiVersion": "superinfer.dev/v1alpha1",
            "kind": "SuperInferService",
            "metadata": {"name": "demo"},
            "spec": {
                "sloClasses": [{"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1}],
                "kvCache": {
                    "dram": {"min": "2Mi", "max": "32Mi", "initial": "4Mi", "step": "4Mi"},
                    "slab": "1Mi",
                },
                "server": {"drainSeconds": 1},
                "telemetry": {"intervalSeconds": 0.1},
                "budget": {"windowSeconds": 1, "minEvents": 5, "cooldownSeconds": 0.1},
                **spec,
            },
        }
    )


class Scene:
    """One run of `up` with the fake runtime, and what it left behind."""

    def __init__(self, folder: Path) -> None:
        self.pids_file = folder / "pids"
        self.events_file = folder / "events.jsonl"
        self.output = io.StringIO()
        self.stop = Stop()
        with contextlib.closing(bind("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.options = Options(
            port=self.port,
            stop_margin_s=1.0,
            turn_s=0.05,
            restart=RestartRule(first_pause_s=0.05, max_quick_crashes=3),
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(FAKE), "--pids", str(self.pids_file), *arguments]

    async def run(self, spec: SuperInferService, *arguments: str) -> int:
        options = replace(self.options, command=self.command(*arguments))
        screen = Screen(Console(file=self.output, width=200))
        with self.events_file.open("a") as file:
            return await up(spec, options, screen, EventLog(file), self.stop)

    def events(self) -> list[dict[str, Any]]:
        if not self.events_file.exists():
            return []
        whole = self.events_file.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    async def stop_when(self, seen: Callable[[], bool]) -> None:
        while not seen():
            await asyncio.sleep(0.02)
        self.stop()

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.pids_file.read_text().split()]

    def alive(self) -> list[int]:
        return [pid for pid in self.pids() if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    if scene.pids_file.exists():
        left = scene.alive()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, scene.output.getvalue()


async def run_until(scene: Scene, spec: SuperInferService, seen: Any, *arguments: str) -> int:
    watch = asyncio.create_task(scene.stop_when(seen))
    try:
        return await asyncio.wait_for(scene.run(spec, *arguments), 30)
    finally:
        watch.cancel()


async def test_bad_attainment_grows_dram_until_it_is_met(scene: Scene) -> None:
    def met() -> bool:
        return any(e["rung"] == "Hold" and "objectives met" in e["reason"] for e in scene.events())

    code = await run_until(scene, service(), met, "--needs-dram", str(12 * MIB))

    assert code == exit_codes.OK
    steps = [e for e in scene.events() if e["rung"] == "GrowDRAM"]
    assert [(e["from_bytes"] // MIB, e["to_bytes"] // MIB, e["outcome"]) for e in steps] == [
        (4, 8, "sent"),
        (4, 8, "landed"),
        (8, 12, "sent"),
        (8, 12, "landed"),
    ]
    assert "class chat met TTFT for 0 % of" in steps[0]["reason"]
    assert "DRAM headroom 0 of 4Mi: grow DRAM 4Mi -> 8Mi" in steps[0]["reason"]
    assert "GrowDRAM" in scene.output.getvalue()


async def test_plan_mode_reports_and_leaves_the_budget_alone(scene: Scene) -> None:
    def planned() -> bool:
        return any(e["outcome"] == "planned" for e in scene.events())

    spec = service(mode="Plan")
    code = await run_until(scene, spec, planned, "--needs-dram", str(12 * MIB))

    assert code == exit_codes.OK
    assert {e["outcome"] for e in scene.events()} <= {"planned", "no-change"}


async def test_a_crash_is_restarted_and_explained(scene: Scene) -> None:
    def told() -> bool:
        return any("objectives met" in e["reason"] for e in scene.events())

    code = await run_until(scene, service(), told, "--crash-times", "2")

    assert code == exit_codes.OK
    assert len(scene.pids()) == 3
    assert "ended with exit code 3: engine core died; starting it again" in scene.output.getvalue()


async def test_quick_crashes_end_in_giving_up(scene: Scene) -> None:
    with pytest.raises(UpFailed, match=r"engine core died; given up after 3 crashes in a row"):
        await scene.run(service(), "--crash-times", "99")
    assert len(scene.pids()) == 3


@pytest.mark.parametrize("code", [exit_codes.CONFIG, exit_codes.USAGE])
async def test_a_refused_configuration_is_not_retried(scene: Scene, code: int) -> None:
    assert await scene.run(service(), "--exit", str(code)) == exit_codes.CONFIG
    assert len(scene.pids()) == 1
    assert "kv_cache.hbm: too small for the model" in scene.output.getvalue()


async def test_a_runtime_that_never_gets_ready_is_ended_with_all_its_processes(
    scene: Scene,
) -> None:
    scene.options = replace(scene.options, start_timeout_s=5.0, stop_margin_s=0.0)
    with pytest.raises(UpFailed, match=r"not ready within 5 s"):
        await scene.run(service(server={"drainSeconds": 0.2}), "--hang")
    assert len(scene.pids()) == 2


async def test_asking_twice_kills_at_once(scene: Scene) -> None:
    def hanging() -> bool:
        if not scene.pids_file.exists() or len(scene.pids()) < 2:
            return False
        scene.stop()
        return True

    spec = service(server={"drainSeconds": 3600})
    assert await run_until(scene, spec, hanging, "--hang") == exit_codes.OK


async def test_a_taken_port_is_refused_before_anything_starts(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options in ({"port": port}, {"otlp_port": port}):
            scene.options = replace(Scene(scene.pids_file.parent).options, **options)
            with pytest.raises(UpFailed, match=str(port)):
                await scene.run(service())
    assert not scene.pids_file.exists()


def start_cli(scene: Scene, folder: Path) -> "subprocess.Popen[str]":
    file = folder / "service.yaml"
    file.write_text(service().model_dump_json(by_alias=True, exclude_unset=True))
    command = [sys.executable, "-m", "superinfer_operator", "up", str(file)]
    command += ["--port", str(scene.port), "--json-events", str(scene.events_file)]
    command += ["--runtime-command", " ".join(scene.command())]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )


def wait_until(seen: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_the_command_ends_cleanly_on_sigterm(scene: Scene, tmp_path: Path) -> None:
    with start_cli(scene, tmp_path) as process:
        wait_until(lambda: bool(scene.events()))
        (private,) = tmp_path.glob("superinfer-*")
        assert private.stat().st_mode & 0o077 == 0
        assert all(file.stat().st_mode & 0o077 == 0 for file in private.iterdir())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == exit_codes.OK, said
    assert not scene.alive()
    assert not list(tmp_path.glob("superinfer-*"))
    assert "Traceback" not in said


def test_the_runtime_ends_when_the_operator_is_killed(scene: Scene, tmp_path: Path) -> None:
    with start_cli(scene, tmp_path) as process:
        wait_until(lambda: bool(scene.events()))
        process.kill()
        process.communicate()
    wait_until(lambda: not scene.alive())
