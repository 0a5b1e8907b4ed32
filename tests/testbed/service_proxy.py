"""The process kube-proxy: ClusterIPs that work, for pods and for this machine.

    async with ServiceProxy.start(kubeconfig, bridge=kubelet.bridge):
        ...

The whole range is routed to the loopback device, so that any address of it can be listened on.
Connections are forwarded to the Service's endpoints in turn; an established one stays where it is.
Where a Service has no endpoint nobody listens, and clients are refused.
"""

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kubelet.api import Api, Object
from kubelet.backends import Backend, Frontend, frontends
from kubelet.cache import Cache
from kubelet.leftovers import Claim, require_tools, sweep
from kubelet.network import ip

SERVICE_RANGE = "10.96.0.0/16"
LOOPBACK = "lo"
CHUNK_BYTES = 65536
CONNECT_S = 5.0

log = logging.getLogger(__name__)


class ServiceProxy:
    """Listens where Services are, and forwards."""

    def __init__(self, api: Api, bridge: str) -> None:
        self._bridge = bridge
        self._api_server = (api.url.host, api.url.port or 443)
        self._services = Cache(api, "/api/v1/services", listener=self._hear)
        self._slices = Cache(api, "/apis/discovery.k8s.io/v1/endpointslices", listener=self._hear)
        self._changed = asyncio.Event()
        self._backends: dict[Frontend, list[Backend]] = {}
        self._turns: dict[Frontend, itertools.count[int]] = {}
        self._servers: dict[Frontend, list[asyncio.Server]] = {}
        self._connections: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def start(
        cls, kubeconfig: Path, bridge: str, service_range: str = SERVICE_RANGE
    ) -> AsyncIterator["ServiceProxy"]:
        """Forward while the context lasts, for the pods on ``bridge`` and for this machine."""
        require_tools()
        sweep()
        # The bridge's name tells apart the routes of testbeds that run beside each other.
        metric = 1000 + int(bridge.lstrip("abcdefghijklmnopqrstuvwxyz"))
        route = f"local {service_range} dev {LOOPBACK} metric {metric}"
        claim = Claim(f"services-{bridge}")
        claim.before("ip", "route", "del", *route.split())
        api = Api(kubeconfig)
        proxy = cls(api, bridge)
        try:
            await ip(f"route add {route}")
            async with asyncio.TaskGroup() as group:
                work = (proxy._services.run(), proxy._slices.run(), proxy._follow())
                tasks = [group.create_task(each) for each in work]
                try:
                    yield proxy
                finally:
                    proxy._close_all()
                    connections = list(proxy._connections)
                    for task in [*tasks, *connections]:
                        task.cancel()
                    await asyncio.gather(*connections, return_exceptions=True)
        finally:
            claim.release()
            await api.close()

    def _hear(self, item: Object, gone: bool) -> None:
        self._changed.set()

    async def _follow(self) -> None:
        """Listen where Services have endpoints, and nowhere else."""
        await self._services.synced.wait()
        await self._slices.synced.wait()
        while True:
            self._changed.clear()
            found = frontends(self._services.items, self._slices.items, self._api_server)
            self._backends = {where: led for where, led in found.items() if led}
            for frontend in self._servers.keys() - self._backends.keys():
                self._close(frontend)
            for frontend in sorted(self._backends.keys() - self._servers.keys()):
                await self._listen(frontend)
            await self._changed.wait()

    async def _listen(self, frontend: Frontend) -> None:
        self._turns.setdefault(frontend, itertools.count())
        servers = self._servers.setdefault(frontend, [])
        for device in (self._bridge, LOOPBACK):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Bound to a device, so that testbeds with the same addresses do not meet.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            try:
                listener.bind((frontend.address, frontend.port))
            except OSError as error:
                listener.close()
                log.warning("%s on %s: another testbed has it (%s)", frontend, device, error)
                continue
            servers.append(
                await asyncio.start_server(
                    lambda reader, writer: self._accept(frontend, reader, writer),
                    sock=listener,
                    backlog=1024,
                )
            )

    def _close(self, frontend: Frontend) -> None:
        for server in self._servers.pop(frontend):
            server.close()

    def _close_all(self) -> None:
        for frontend in list(self._servers):
            self._close(frontend)

    def _accept(
        self, frontend: Frontend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._forward(frontend, reader, writer))
        self._connections.add(task)

        def forget(_: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            writer.transport.abort()  # one that was cancelled before it began has closed nothing

        task.add_done_callback(forget)

    async def _forward(
        self, frontend: Frontend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        backends = self._backends.get(frontend)
        if not backends:
            writer.transport.abort()
            return
        host, port = backends[next(self._turns[frontend]) % len(backends)]
        try:
            async with asyncio.timeout(CONNECT_S):
                to_reader, to_writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
        except OSError:
            # Reset on one side is reset on the other, as it would be without a proxy between.
            for each in (writer, to_writer):
                each.transport.abort()
        finally:
            for each in (writer, to_writer):
                each.close()  # both before the first wait, which may be cancelled
            for each in (writer, to_writer):
                with suppress(OSError):
                    await each.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side has said all, and say so to the other."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
