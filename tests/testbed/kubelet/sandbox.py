"""What the containers of a pod share: network, host name, shared memory, memory volumes.

One sleeping process holds the namespaces, as the pause container does; when it ends, the kernel
takes network, address and mounts away.
"""

import asyncio
import os
import signal
from pathlib import Path

from kubelet.network import Network
from kubelet.process import DIE_WITH_PARENT

HOLD = 'hostname "$1" && echo held && exec sleep infinity'


class Sandbox:
    """The namespaces and the address of one pod."""

    def __init__(self, network: Network, process: asyncio.subprocess.Process) -> None:
        self._network = network
        self._process = process
        self.pid = process.pid
        self.address = ""

    @classmethod
    async def create(cls, network: Network, hostname: str) -> "Sandbox":
        process = await asyncio.create_subprocess_exec(
            *DIE_WITH_PARENT,
            *("unshare", "--mount", "--net", "--ipc", "--uts", "sh", "-c", HOLD, "sh", hostname),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        sandbox = cls(network, process)
        try:
            assert process.stdout is not None
            if await process.stdout.readline() != b"held\n":
                raise RuntimeError("the pod's namespaces could not be made: see the error above")
            sandbox.address = await network.attach(process.pid)
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    async def mount_memory(self, folder: Path, size_bytes: int | None) -> None:
        """Mount a file system in memory at ``folder`` for all containers of the pod."""
        options = "mode=0777" + (f",size={size_bytes}" if size_bytes else "")
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--target={self.pid}", "--mount"),
            *("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)),
        )
        if await process.wait():
            raise RuntimeError(f"tmpfs could not be mounted at {folder}")

    async def close(self) -> None:
        if self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
        await self._process.wait()
        if self.address:
            self._network.release(self.address)
