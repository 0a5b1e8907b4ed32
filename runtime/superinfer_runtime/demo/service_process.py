"""One `superinfer-operator up` as a child: started, waited for, ended, and what it wrote read back.

The child's own children are in its care: it stops the runtime before it ends, and the kernel tells
the runtime to stop if it is killed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 45.0
_LOG_TAIL_LINES = 15


def _environment() -> dict[str, str]:
    """One thread for the model: HTTP and the load need a core of their own on a small machine."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServiceProcess:
    """A context manager: inside it the service is ready at `url`."""

    def __init__(
        self, service: dict[str, Any], folder: Path, on_wait: Callable[[float], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{service['spec']['server']['port']}"
        self._file = folder / "service.yaml"
        self._file.write_text(yaml.safe_dump(service, sort_keys=False))
        self._events = folder / "events.jsonl"
        self._status = folder / "status.json"
        self._log = folder / "log.txt"
        for old in (self._events, self._status):
            old.unlink(missing_ok=True)
        self._on_wait = on_wait

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "superinfer_operator", "up", str(self._file)),
                    f"--json-events={self._events}",
                    f"--json-status={self._status}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def events(self) -> list[dict[str, Any]]:
        """Decisions and budget steps so far, oldest first."""
        if not self._events.exists():
            return []
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        """The operator's latest view."""
        found: dict[str, Any] = json.loads(self._status.read_text())
        return found

    def _wait_until_ready(self) -> None:
        start_s = time.monotonic()
        while (waited_s := time.monotonic() - start_s) < START_TIMEOUT_S:
            if self._process.poll() is not None:
                raise DemoFailed(f"the service ended at its start:\n{self._log_tail()}")
            try:
                if httpx.get(f"{self.url}/ready", timeout=2.0).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            self._on_wait(waited_s)
            time.sleep(0.5)
        raise DemoFailed(f"not ready within {START_TIMEOUT_S:.0f} s:\n{self._log_tail()}")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
