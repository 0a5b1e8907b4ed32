"""One child process in a session of its own, of which nothing is ever left behind.

An engine has processes of its own, so ending the child means ending its whole process group: asked
with SIGTERM first, killed after a grace, and swept once more when its leader is gone. Should the
operator itself be killed, the kernel sends the child SIGTERM (Linux).

The output goes line by line to ``on_line``; the last line of stderr is kept for the message that
explains a crash. The pipes are our own and not asyncio's, whose ``wait()`` would not return while a
grandchild holds them open.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

OnLine = Callable[[str], None]
LONGEST_LINE_BYTES = 64 * 1024
OUTPUT_GRACE_S = 1.0
_PR_SET_PDEATHSIG = 1


class Child:
    """A running child; make it with `Child.start`, end it with `stop`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._readers: list[asyncio.Task[None]] = []
        self.last_error_line = ""

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], on_line: OnLine
    ) -> "Child":
        """Start ``command`` in its own session.

        Raises:
            OSError: it cannot be started.
        """
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out_write,
                stderr=err_write,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        except BaseException:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        child = cls(process)

        def on_error_line(line: str) -> None:
            if line.strip():
                child.last_error_line = line.strip()
            on_line(line)

        child._readers = [
            asyncio.create_task(_read_lines(out_read, on_line)),
            asyncio.create_task(_read_lines(err_read, on_error_line)),
        ]
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the exit and return its code; negative: the signal that ended it.

        Whatever the child left in its process group is killed, and its output is read to the end.
        """
        code = await self._process.wait()
        self._kill_group()
        _, late = await asyncio.wait(self._readers, timeout=OUTPUT_GRACE_S)
        for reader in late:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        return code

    async def stop(self, grace_s: float) -> int:
        """Ask the child to end, kill its group after ``grace_s``, and return its exit code."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        self._kill_group()
        return await self.wait()

    def kill(self) -> None:
        """Kill the child and all of its group now."""
        self._kill_group()

    def _kill_group(self) -> None:
        # The group's id is the leader's pid, which cannot be given out again while a member lives.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def _read_lines(descriptor: int, on_line: OnLine) -> None:
    """Hand each line of ``descriptor`` to ``on_line``; a line that never ends is cut."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        rest = b""
        try:
            while chunk := await reader.read(LONGEST_LINE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LONGEST_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    on_line(line.decode(errors="replace").rstrip("\r"))
            if rest:
                on_line(rest.decode(errors="replace"))
        finally:
            transport.close()


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the forked child calls to be sent SIGTERM when its parent dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork: after it, only the call is safe

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
