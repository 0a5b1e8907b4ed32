"""A background program of the testbed: its log in a file, and its end with ours.

The kernel ends it when the thread that started it ends (setpriv --pdeathsig), so a test run that
is killed leaves nothing behind. Start it from a thread that stays, such as an event loop's.
"""

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

DIE_WITH_STARTER = ("setpriv", "--pdeathsig", "KILL")
STOP_TIMEOUT_S = 15.0
TAIL_LINES = 15
POLL_S = 0.1


class DaemonFailed(Exception):
    """A program did not start or did not stay; the message ends with the tail of its log."""


class DaemonProcess:
    """One program under ``name``; ``arguments`` begin with its path."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, in a session of its own so that Ctrl-C is for us alone."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_STARTER, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises: DaemonFailed: it has ended."""
        if not self.is_running:
            status = "" if self._process is None else f" with status {self._process.returncode}"
            raise self.failure(f"ended{status}")

    def failure(self, what: str) -> DaemonFailed:
        """Return an error about ``what`` happened, with the last lines of the log."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return DaemonFailed("\n".join([f"{self.name} {what}:", *lines[-TAIL_LINES:]]))

    async def until_answered(self, url: str, within_s: float) -> None:
        """Wait until a GET of ``url`` succeeds.

        Raises:
            DaemonFailed: it ended, or did not answer in time.
        """
        deadline_s = time.monotonic() + within_s
        async with httpx.AsyncClient(trust_env=False) as client:  # loopback needs no proxy
            while True:
                self.check()
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).is_success:
                        return
                if time.monotonic() > deadline_s:
                    raise self.failure("was not ready in time")
                await asyncio.sleep(POLL_S)

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it with ``sign``, by force after a while, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(sign)
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
