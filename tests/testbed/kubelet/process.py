"""One run of a container's command as a local process, and commands executed beside it.

The chain is kubelet -> `container_init` -> the command, which is process 1 of its own PID
namespace: it dies with the kubelet, all of its children die with it, and signals that it does not
handle are ignored, as in every container.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

INIT = Path(__file__).with_name("container_init.py")
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
START_FAILED = 128


@dataclass(frozen=True)
class Mount:
    """A path of the machine at a path of the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class User:
    """Whom the command runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    @property
    def setpriv(self) -> list[str]:
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups]


@dataclass(frozen=True)
class Plan:
    """Everything that `container_init` needs to know."""

    command: Sequence[str]
    environment: dict[str, str]
    working_dir: str
    mounts: Sequence[Mount]
    root: str
    cgroup: str
    kubelet_folder: str
    read_only_root: bool
    user: User | None


class StartError(Exception):
    """The command could not be executed."""


class Process:
    """A container's running command."""

    def __init__(self, launcher: asyncio.subprocess.Process, pid: int, plan: Plan) -> None:
        self._launcher = launcher
        self._plan = plan
        self.pid = pid

    @classmethod
    async def start(cls, plan: Plan, sandbox_pid: int, folder: Path, log: Path) -> "Process":
        """Run the plan in the sandbox's namespaces; returns when the command has begun.

        Raises:
            StartError: it cannot be executed; the text says why.
        """
        plan_file = folder / "plan.json"
        plan_file.touch(mode=0o600)
        plan_file.write_text(json.dumps(asdict(plan)))
        pipe = folder / "begun"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        with log.open("ab") as output, _Telling(pipe) as telling:
            launcher = await asyncio.create_subprocess_exec(
                *DIE_WITH_PARENT,
                *("nsenter", f"--target={sandbox_pid}", "--mount", "--net", "--ipc", "--uts"),
                *(sys.executable, "-I", "-S", str(INIT), str(plan_file), str(pipe)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            told = await telling.until_closed(launcher)
        if "error" in told or "pid" not in told:
            await launcher.wait()
            raise StartError(told.get("error", f"the process did not start; see {log}"))
        return cls(launcher, int(told["pid"]), plan)

    @property
    def alive(self) -> bool:
        return self._launcher.returncode is None

    @property
    def pid_namespace(self) -> int:
        """Identifies all processes of the container; 0 when it has ended."""
        try:
            return os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        except OSError:
            return 0

    async def wait(self) -> int:
        """Return the exit code, 128 + N where signal N ended the command."""
        return await self._launcher.wait()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    async def execute(self, command: Sequence[str], timeout_s: float) -> tuple[bool, str]:
        """Run a command inside the container; return whether it succeeded, and its output."""
        user = self._plan.user
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--target={self.pid}", "--mount", "--net", "--ipc", "--uts", "--pid"),
            *("--root", f"--wdns={self._plan.working_dir}", "--"),
            *(user.setpriv if user else []),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._plan.environment,
            start_new_session=True,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            return False, f"command timed out after {timeout_s:g}s"
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode == 0, output.decode(errors="replace")[:1024]


class _Telling:
    """The kubelet's end of the pipe through which `container_init` tells what it does."""

    def __init__(self, pipe: Path) -> None:
        self._receiver = os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
        # While nobody else writes, an end of our own keeps the pipe from looking closed.
        self._sender = os.open(pipe, os.O_WRONLY)

    def __enter__(self) -> "_Telling":
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.close()
        if self._sender >= 0:
            os.close(self._sender)

    async def until_closed(self, launcher: asyncio.subprocess.Process) -> dict[str, str]:
        """Return all that was told when the command has begun, or failed to."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._receiver
        )
        first = asyncio.create_task(reader.readline())
        gone = asyncio.create_task(launcher.wait())
        try:
            await asyncio.wait({first, gone}, return_when=asyncio.FIRST_COMPLETED)
            os.close(self._sender)
            self._sender = -1
            lines: list[bytes] = [await first, *(await reader.read()).splitlines()]
        finally:
            gone.cancel()
            transport.close()
        told: dict[str, str] = {}
        for line in lines:
            told |= json.loads(line or "{}")
        return told
