"""A reader's terminal: the commands of a page, one after the other, as they stand there.

Each is run by bash in one folder; variables that a command sets are there for the next. A server
(a command that does not end by itself) runs on until the next server takes its place, or the page
ends; then it is interrupted as by Ctrl-C, and must end well.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from documents import Command

WITHIN_S = 600.0
POLL_S = 0.3
ENDS_WELL = (0, -signal.SIGINT, 128 + signal.SIGINT)
KUBECTL_INTERRUPTED = 1
"""That is how kubectl ends a watch at Ctrl-C."""
SHOWN_CHARS = 4000


class CommandFailed(AssertionError):
    """A documented command did not do what its page says."""


class Terminal:
    """``prefix``: what each shell is started with, such as a network namespace to enter."""

    def __init__(
        self, folder: Path, state: Path, environment: Mapping[str, str], prefix: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._state = state
        self._environment = dict(environment)
        self._prefix = tuple(prefix)
        self._server: tuple[Command, subprocess.Popen[bytes], Path] | None = None
        state.mkdir(parents=True, exist_ok=True)
        self._variables = state / "variables"
        self._variables.touch()
        # An answer that refuses is a failure, which curl alone would not tell.
        (state / ".curlrc").write_text("fail-with-body\nno-progress-meter\n")
        self._environment["CURL_HOME"] = str(state)

    def run(self, command: Command) -> str:
        """Run to the end and return what it printed.

        Raises:
            CommandFailed: it did not end with 0, or not in time.
        """
        log = self._state / "output"
        with log.open("wb") as output:
            # Its own group, so that a pipe's other end goes with it.
            kept = f"kept=$?\nexport -p > {self._variables}\nexit $kept"
            process = self._start(f"{command.text}\n{kept}", output)
            try:
                code = process.wait(WITHIN_S)
            except subprocess.TimeoutExpired:
                raise CommandFailed(f"{command}\n{tail(log)}\nstill running") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if code:
            server = f"\nits server:\n{tail(self._server[2])}" if self._server else ""
            raise CommandFailed(f"{command}\n{tail(log)}\nexit code {code}{server}")
        return log.read_text(errors="replace")

    def serve(self, command: Command, until: str) -> None:
        """Start a command that does not end, and wait until ``until`` succeeds.

        Raises:
            CommandFailed: it ended, or was not ready in time.
        """
        self.interrupt()
        log = self._state / f"server-{command.line}"
        with log.open("wb") as output:
            process = self._start(command.text, output)
        self._server = (command, process, log)
        deadline_s = time.monotonic() + WITHIN_S
        while self._start(until, subprocess.DEVNULL).wait(WITHIN_S):
            if process.poll() is not None:
                raise CommandFailed(f"{command}\n{tail(log)}\nended: {process.returncode}")
            if time.monotonic() > deadline_s:
                raise CommandFailed(f"{command}\n{tail(log)}\nis not ready: {until}")
            time.sleep(POLL_S)

    def interrupt(self) -> None:
        """Press Ctrl-C in the server's terminal, if there is one.

        Raises:
            CommandFailed: it does not end well.
        """
        if self._server is None:
            return
        command, process, log = self._server
        self._server = None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            code = process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise CommandFailed(f"{command}\n{tail(log)}\nCtrl-C does not end it") from None
        is_watch = command.bare.startswith("kubectl ") and code == KUBECTL_INTERRUPTED
        if code not in ENDS_WELL and not is_watch:
            raise CommandFailed(f"{command}\n{tail(log)}\nended with {code} at Ctrl-C")

    def close(self) -> None:
        """End the server at once, if a failure left one."""
        if self._server is not None and self._server[1].poll() is None:
            os.killpg(self._server[1].pid, signal.SIGKILL)
            self._server[1].wait()
        self._server = None

    def _start(self, text: str, output: int | object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self._prefix, "bash", "-c", f". {self._variables}\nset -a\n{text}"],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,  # type: ignore[arg-type]
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-SHOWN_CHARS:].strip()


@contextmanager
def loopback_of_its_own() -> Iterator[tuple[str, ...]]:
    """A network namespace with nothing but loopback, where port 8000 is free: how to enter it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    enter = ("nsenter", f"--net=/proc/{holder.pid}/ns/net", "--")
    own = os.stat("/proc/self/ns/net").st_ino
    try:
        deadline_s = time.monotonic() + 10
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == own:
            if holder.poll() is not None or time.monotonic() > deadline_s:
                raise CommandFailed("no network namespace of its own: are you root?")
            time.sleep(0.01)
        subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
        yield enter
    finally:
        holder.kill()
        holder.wait()
