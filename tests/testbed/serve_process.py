"""`superinfer serve` as a process of its own, of which nothing may be left."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from daemon_process import free_port

START_S = 200
ENGINE_ARGS = {
    "enforce-eager": True,
    "dtype": "float32",
    "max-model-len": 1024,
    "block-size": 32,
}


class Serving:
    """A started server."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        url: str,
        log: Path,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.process = process
        self.url = url
        self.log = log
        # trust_env off: loopback never goes through a proxy.
        self.http = httpx.Client(
            base_url=url, timeout=60, trust_env=False, verify=True if trust is None else trust
        )

    def wait_ready(self) -> None:
        for _ in range(START_S * 5):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                if self.http.get("/ready").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-3000:])

    def complete(self, **body: Any) -> httpx.Response:
        return self.http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 8} | body)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait_gone(self) -> int:
        """Wait for the exit, then for every process of its group; return the exit code."""
        code = self.process.wait(60)
        wait_group_ends(self.process.pid)
        return code


@contextmanager
def serving(
    folder: Path, config: dict[str, Any], trust: ssl.SSLContext | None = None
) -> Iterator[Serving]:
    """Serve ``config`` on a free port of loopback with the embedded model.

    With ``server.tls`` in ``config``, ``trust`` is what its certificate is checked against.
    """
    port = free_port()
    path, log = folder / "runtime.json", folder / "log"
    server = {"port": port, "drain_s": 30, **config.pop("server", {})}
    path.write_text(json.dumps({"engine_args": ENGINE_ARGS, "server": server, **config}))
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "superinfer_runtime", "serve", "--config", str(path)],
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    scheme = "http" if trust is None else "https"
    served = Serving(process, f"{scheme}://127.0.0.1:{port}", log, trust)
    try:
        served.wait_ready()
        yield served
    finally:
        served.http.close()
        kill_group(process.pid)
        process.wait(10)


def group(leader: int) -> list[psutil.Process]:
    """The living processes of the group that ``leader`` began."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


def wait_group_ends(leader: int) -> None:
    for _ in range(100):
        if not group(leader):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {group(leader)}")


def kill_group(leader: int) -> None:
    for process in group(leader):
        process.kill()
