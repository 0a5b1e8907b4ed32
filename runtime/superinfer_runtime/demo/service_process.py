"""One `superinfer-operator up` as a child, and what it wrote read back.

The child's own children are in its care: it stops the runtime before it ends, and the kernel tells
the runtime to stop if it is killed.
"""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from superinfer_runtime.demo.child_server import ChildServer


def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServiceProcess(ChildServer):
    """A context manager: inside it the service is ready at `url`."""

    def __init__(
        self, service: dict[str, Any], folder: Path, on_wait: Callable[[float], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "service.yaml"
        file.write_text(yaml.safe_dump(service, sort_keys=False))
        self._events = folder / "events.jsonl"
        self._status = folder / "status.json"
        for old in (self._events, self._status):
            old.unlink(missing_ok=True)
        super().__init__(
            [
                *(sys.executable, "-m", "superinfer_operator", "up", str(file)),
                f"--json-events={self._events}",
                f"--json-status={self._status}",
            ],
            f"http://127.0.0.1:{service['spec']['server']['port']}",
            folder / "log.txt",
            on_wait=on_wait,
        )

    def events(self) -> list[dict[str, Any]]:
        """Decisions and budget steps so far, oldest first."""
        if not self._events.exists():
            return []
        return [json.loads(line) for line in self._events.read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        """The operator's latest view."""
        found: dict[str, Any] = json.loads(self._status.read_text())
        return found
