"""Nothing stays behind: what a testbed makes on the machine is written down before it is made.

A claim is a locked file that lists the commands which undo it. The kernel drops the lock when the
owner dies, however it dies; then the next testbed to start carries the commands out.
"""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import IO

CLAIMS = Path("/run/superinfer-testbed")


class Claim:
    """One testbed's undo list, kept while its process lives."""

    def __init__(self, name: str) -> None:
        """Raises BlockingIOError where a living process holds the claim of that name."""
        CLAIMS.mkdir(exist_ok=True)
        self._path = CLAIMS / name
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A sweep may have removed the file between opening and locking.
            if not self._path.exists() or not os.path.samestat(
                os.fstat(self._file.fileno()), self._path.stat()
            ):
                raise BlockingIOError(f"{name} is being swept")
        except BlockingIOError:
            self._file.close()
            raise
        self._undo: list[list[str]] = []

    def before(self, *undo: str) -> None:
        """Note the command that undoes what is about to be done."""
        self._undo.append(list(undo))
        self._file.seek(0)
        self._file.truncate()
        json.dump(self._undo, self._file)
        self._file.flush()

    def release(self) -> None:
        _undo(self._file, self._path)


def sweep() -> None:
    """Undo what testbeds left whose processes are gone."""
    for path in sorted(CLAIMS.glob("*")):
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _undo(file, path)


def require_tools() -> None:
    """Check that this process may make namespaces and networks.

    Raises:
        SystemExit: not root, not Linux, or a tool is missing.
    """
    missing = [tool for tool in ("ip", "unshare", "nsenter", "setpriv") if not shutil.which(tool)]
    if missing or not Path("/proc/self/ns/net").exists() or os.geteuid() != 0:
        lacking = f" (missing: {', '.join(missing)})" if missing else ""
        raise SystemExit(
            "the process kubelet needs root and iproute2 on Linux (and util-linux): pods are "
            f"processes in namespaces of their own{lacking}"
        )


def _undo(file: IO[str], path: Path) -> None:
    file.seek(0)
    text = file.read()
    for command in reversed(json.loads(text) if text else []):
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    path.unlink(missing_ok=True)
    file.close()
