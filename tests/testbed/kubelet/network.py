"""Pods on a bridge of their own: every pod has a network namespace and an address.

Pods, nodes and the host reach each other; nothing is routed beyond the machine. A testbed takes
one /24 of the pod range, and the bridge's name says which, so that two testbeds never share one.
"""

import asyncio
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kubelet.leftovers import Claim

POD_RANGE = IPv4Network("10.244.0.0/16")
LAST_NODE = 19
LINKS = Path("/sys/class/net")


class Network:
    """One /24: the first address is the bridge, then come the nodes, then the pods."""

    def __init__(self, claim: Claim, subnet: IPv4Network, bridge: str) -> None:
        self._claim = claim
        self._subnet = subnet
        self.bridge = bridge
        self.gateway = subnet[1]
        self._used: set[IPv4Address] = set()
        self._nodes = 0
        self._next = LAST_NODE + 1

    @classmethod
    async def create(cls, pod_range: IPv4Network = POD_RANGE) -> "Network":
        """Take the first /24 of ``pod_range`` that no other testbed has."""
        for index, subnet in enumerate(pod_range.subnets(new_prefix=24)):
            bridge = f"sibr{index}"
            try:
                claim = Claim(f"{bridge}-{subnet.network_address}")
            except BlockingIOError:
                continue
            claim.before("ip", "link", "del", bridge)
            network = cls(claim, subnet, bridge)
            # A pod's end outlives its process for a moment: the kernel may still hold its link.
            left = [link.name for link in LINKS.glob(f"{bridge}p*")]
            try:
                for link in left:
                    with suppress(RuntimeError):
                        await ip(f"link del {link}")
                # Without an address of its own a bridge takes over that of its ports, another one
                # whenever a pod comes or goes, and its neighbours' caches are wrong for a minute.
                hardware = _hardware_address(network.gateway)
                await ip(
                    f"link add {bridge} address {hardware} type bridge forward_delay 0",
                    f"addr add {network.gateway}/24 dev {bridge}",
                    f"link set {bridge} up",
                )
            except RuntimeError:
                claim.release()
                raise
            return network
        raise RuntimeError(f"every /24 of {pod_range} is taken by a running testbed")

    def close(self) -> None:
        self._claim.release()

    async def add_node(self) -> str:
        """Return an address of the host for one more node."""
        self._nodes += 1
        if self._nodes >= LAST_NODE:
            raise RuntimeError(f"a testbed has room for {LAST_NODE - 1} nodes")
        address = self._subnet[1 + self._nodes]
        await ip(f"addr add {address}/32 dev {self.bridge}")
        return str(address)

    async def attach(self, sandbox_pid: int) -> str:
        """Give the network namespace of ``sandbox_pid`` an address, and return it."""
        address = self._take()
        link = f"{self.bridge}p{int(address) & 0xFF}"
        # An address always has the same hardware address: no neighbour cache can be wrong.
        hardware = _hardware_address(address)
        await ip(
            f"link add {link} type veth peer name eth0 address {hardware} netns {sandbox_pid}",
            f"link set {link} master {self.bridge} up",
        )
        await ip(
            "link set lo up",
            f"addr add {address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {self.gateway}",
            namespace_of=sandbox_pid,
        )
        return str(address)

    def release(self, address: str) -> None:
        self._used.discard(IPv4Address(address))

    def _take(self) -> IPv4Address:
        """The next free address after the last given, so that none is soon used again."""
        pods = range(LAST_NODE + 1, 255)
        for step in range(len(pods)):
            address = self._subnet[pods[(self._next - pods.start + step) % len(pods)]]
            if address not in self._used:
                self._used.add(address)
                self._next = (int(address) & 0xFF) + 1
                return address
        raise RuntimeError(f"no address of {self._subnet} is free")


def _hardware_address(address: IPv4Address) -> str:
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)


async def ip(*commands: str, namespace_of: int | None = None) -> None:
    """Run ``ip`` commands, on the host or in the network namespace of a process."""
    enter = [] if namespace_of is None else ["nsenter", "--net", f"--target={namespace_of}"]
    process = await asyncio.create_subprocess_exec(
        *enter,
        *("ip", "-batch", "-"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate("\n".join(commands).encode())
    if process.returncode:
        raise RuntimeError(f"ip {commands}: {errors.decode().strip()}")
