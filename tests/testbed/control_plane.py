"""A real Kubernetes control plane on this machine: etcd, API server, controllers, scheduler.

    async with ControlPlane.start(folder) as control_plane:
        control_plane.kubectl("get", "namespaces")

Ports come from the kernel, certificates from an authority of its own, state lies in ``folder``. As
a program it starts one and waits for Ctrl-C, for people who want to look.
"""

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import control_plane_flags as flags
import httpx
from certificates import Authority
from control_plane_binaries import binaries
from control_plane_kubeconfig import write_kubeconfig
from daemon_process import DaemonFailed, DaemonProcess

READY_WITHIN_S = 90.0
POLL_S = 0.1
LOOK_AFTER_EVERY_S = 1.0
KUBECTL_WITHIN_S = 120.0
SERVICE_RANGE = "10.96.0.0/16"
LOOPBACK = "127.0.0.1"
NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"


class ControlPlane:
    """A running control plane; made by `start`."""

    def __init__(
        self, folder: Path, tools: Path, host: str, addresses: Sequence[str], service_range: str
    ) -> None:
        self.folder = folder
        self.tools = tools
        self.port = _free_port(host)
        self._host = host
        self._addresses = tuple(addresses)
        self._service_range = service_range
        self._authority = Authority(folder)
        self._daemons: dict[str, DaemonProcess] = {}
        self._etcd_url = f"http://{LOOPBACK}:{_free_port()}"
        self._trusted = ssl.create_default_context(cafile=self._authority.file)
        self.admin = self.kubeconfig()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        folder: Path,
        host: str = LOOPBACK,
        addresses: Sequence[str] = (),
        service_range: str = SERVICE_RANGE,
    ) -> AsyncIterator["ControlPlane"]:
        """Start one that listens on ``host``, and that is also reached at ``addresses``.

        Raises:
            DaemonFailed: a part did not start; the message carries the tail of its log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tools = await asyncio.to_thread(binaries)
        control_plane = cls(folder, tools, host, addresses, service_range)
        try:
            await control_plane._start_all()
            supervision = asyncio.create_task(control_plane._look_after_controllers())
            try:
                yield control_plane
            finally:
                supervision.cancel()
        finally:
            # Without ceremony: all that they know is thrown away with the folder.
            for daemon in reversed(control_plane._daemons.values()):
                await daemon.stop(signal.SIGKILL)

    @property
    def url(self) -> str:
        everywhere = ipaddress.ip_address(self._host).is_unspecified
        return f"https://{LOOPBACK if everywhere else self._host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        return self._authority.file

    @property
    def version(self) -> str:
        """The server's version, e.g. v1.35.4."""
        return str(json.loads(self.kubectl("get", "--raw", "/version"))["gitVersion"])

    def pids(self) -> dict[str, int]:
        """The process of each part."""
        return {name: each.pid for name, each in self._daemons.items() if each.pid is not None}

    # --- access -----------------------------------------------------------------------------

    def kubeconfig(self, user: str = "admin", groups: Sequence[str] = ("system:masters",)) -> Path:
        """Return a kubeconfig of ``user`` in ``groups``, by a client certificate."""
        name = "_".join((user, *groups)).replace(":", "-")
        pair = self._authority.client(name, user, groups)
        credentials = {"client-certificate": str(pair.public), "client-key": str(pair.key)}
        return write_kubeconfig(self.folder, name, self.url, self.ca_file, credentials)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig of a ServiceAccount, by a token that the API server issued."""
        token = self.kubectl("--namespace", namespace, "create", "token", name, "--duration=2h")
        credentials = {"token": token.strip()}
        file = f"token_{namespace}_{name}"
        return write_kubeconfig(self.folder, file, self.url, self.ca_file, credentials)

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl as a cluster administrator and return what it printed.

        Raises:
            AssertionError: it failed and ``check`` is set; the message is kubectl's.
        """
        ran = self.run_kubectl(*arguments, input=input)
        if check and ran.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {ran.stderr.strip()}")
        return ran.stdout

    def run_kubectl(
        self, *arguments: str, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a cluster administrator, whatever becomes of it."""
        return subprocess.run(
            [self.tools / "kubectl", *arguments],
            env=self.environment(),
            input=input,
            capture_output=True,
            text=True,
            timeout=KUBECTL_WITHIN_S,
        )

    def environment(self) -> dict[str, str]:
        """Environment in which kubectl talks to this control plane as its administrator."""
        return {
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.admin),
            "PATH": f"{self.tools}:{os.environ.get('PATH', '')}",
        }

    # --- faults -----------------------------------------------------------------------------

    async def stop_api_server(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End the API server, by default without warning."""
        await self._daemons["kube-apiserver"].stop(sign)

    async def start_api_server(self) -> None:
        """Start it again on the same port."""
        self._daemons["kube-apiserver"].start()
        await self._wait_until_ready()

    async def restart_etcd(self, sign: signal.Signals = signal.SIGKILL) -> None:
        """End etcd, by default without warning, and start it on the same data."""
        await self._daemons["etcd"].stop(sign)
        self._daemons["etcd"].start()
        await self._wait_until_ready()

    async def expire_watches(self) -> None:
        """Restart the API server without a past: whoever resumes a watch is answered 410 Gone.

        While it is down, etcd's revision moves on by a write that no client can hear of, and all
        before it is compacted. The API server then has neither in its watch cache, which begins
        at the new revision, nor in etcd what came after any version that a client remembers.
        """
        await self.stop_api_server()
        async with httpx.AsyncClient(base_url=self._etcd_url, trust_env=False) as etcd:
            key = base64.b64encode(b"/testbed/history").decode()
            written = await etcd.post("/v3/kv/put", json={"key": key})
            revision = written.raise_for_status().json()["header"]["revision"]
            compacted = await etcd.post("/v3/kv/compaction", json={"revision": revision})
            compacted.raise_for_status()
        await self.start_api_server()

    # --- start ------------------------------------------------------------------------------

    async def _start_all(self) -> None:
        issue, ca_file = self._authority, self.ca_file
        service_ip = str(ipaddress.ip_network(self._service_range)[1])
        tokens = issue.signing_key("service-accounts")
        serving = issue.server(
            "kube-apiserver", NAMES, {LOOPBACK, self._host, service_ip, *self._addresses}
        )
        self._start("etcd", flags.etcd(self.folder / "etcd", self._etcd_url))
        address = next(iter(self._addresses), LOOPBACK)
        self._start(
            "kube-apiserver",
            flags.kube_apiserver(
                self._etcd_url,
                self._host,
                self.port,
                address,
                self._service_range,
                ca_file,
                serving,
                tokens,
            ),
        )
        await self._wait_until_ready()
        inner, ports = issue.server("controllers", (), (LOOPBACK,)), (_free_port(), _free_port())
        user = {name: self.kubeconfig(f"system:{name}", ()) for name in (MANAGER, SCHEDULER)}
        self._start(
            MANAGER,
            flags.kube_controller_manager(user[MANAGER], ports[0], ca_file, inner, tokens),
        )
        self._start(SCHEDULER, flags.kube_scheduler(user[SCHEDULER], ports[1], inner))
        scheduler = f"https://{LOOPBACK}:{ports[1]}/readyz"
        await self._wait_for(SCHEDULER, lambda: self._says_ok(scheduler))
        await self._wait_for(MANAGER, self._admits_pods)

    def _start(self, name: str, arguments: list[str]) -> None:
        program = [str(self.tools / name), *arguments]
        self._daemons[name] = DaemonProcess(name, program, self.folder / f"{name}.log")
        self._daemons[name].start()

    async def _wait_until_ready(self) -> None:
        # Both: the API server stays ready for a moment when etcd is gone.
        await self._wait_for("etcd", lambda: self._says_ok(f"{self._etcd_url}/health"))
        await self._wait_for("kube-apiserver", lambda: self._says_ok(f"{self.url}/readyz"))

    async def _wait_for(self, name: str, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + READY_WITHIN_S
        while not await asyncio.to_thread(done):
            self._daemons["etcd"].check()
            self._daemons[name].check()
            if time.monotonic() > deadline_s:
                raise self._daemons[name].failure("did not get ready")
            await asyncio.sleep(POLL_S)

    async def _look_after_controllers(self) -> None:
        """Start controllers again that ended because the API server was away, as a kubelet does."""
        while True:
            await asyncio.sleep(LOOK_AFTER_EVERY_S)
            for name in (MANAGER, SCHEDULER):
                if not self._daemons[name].is_running:
                    self._daemons[name].start()

    def _says_ok(self, url: str) -> bool:
        try:
            answer = httpx.get(url, verify=self._trusted, timeout=2, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _admits_pods(self) -> bool:
        """Pods are admitted once the controller manager has made their ServiceAccount."""
        return self.run_kubectl("get", "serviceaccount", "default").returncode == 0


def _free_port(host: str = LOOPBACK) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def _show() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="superinfer-cluster-") as name:
        async with ControlPlane.start(Path(name)) as control_plane:
            print(f"Kubernetes {control_plane.version}; Ctrl-C ends it")
            print(f"export KUBECONFIG={control_plane.admin}")
            print(f"export PATH={control_plane.tools}:$PATH", flush=True)
            await stop.wait()


if __name__ == "__main__":
    try:
        asyncio.run(_show())
    except DaemonFailed as failed:
        sys.exit(f"error: {failed}")
