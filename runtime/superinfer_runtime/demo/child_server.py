"""A server on loopback as a child process: started, waited for until ready, ended in any case."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 45.0
LOG_TAIL_LINES = 15
ONE_THREAD = {
    "PYTHONUNBUFFERED": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
"""For the model: HTTP and the load need a core of their own on a small machine."""


class ServerFailed(Exception):
    """The server did not become ready; the message has the end of its log."""


class ChildServer:
    """A context manager: inside it the server is ready at `url`."""

    def __init__(
        self,
        command: Sequence[str],
        url: str,
        log: Path,
        *,
        environment: Mapping[str, str] = ONE_THREAD,
        on_wait: Callable[[float], None] = lambda waited_s: None,
    ) -> None:
        """``environment`` adds to this process's; ``on_wait`` is told the seconds waited so far."""
        self.url = url
        self._command = list(command)
        self._log = log
        self._environment = environment
        self._on_wait = on_wait

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
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

    def _wait_until_ready(self) -> None:
        start_s = time.monotonic()
        while (waited_s := time.monotonic() - start_s) < START_TIMEOUT_S:
            if self._process.poll() is not None:
                raise ServerFailed(f"the server ended at its start:\n{self._log_tail()}")
            try:
                if httpx.get(f"{self.url}/ready", timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            self._on_wait(waited_s)
            time.sleep(0.5)
        raise ServerFailed(f"not ready within {START_TIMEOUT_S:.0f} s:\n{self._log_tail()}")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
