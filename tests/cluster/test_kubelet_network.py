"""Pods come and go on a bridge that stays who it is, for those that are on it."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from kubelet.network import LINKS, Network

pytestmark = pytest.mark.cluster


@contextmanager
def sandbox() -> Iterator[int]:
    """A process in a network namespace of its own."""
    command = ["unshare", "--net", "sh", "-c", "echo; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


async def test_the_bridge_keeps_its_hardware_address() -> None:
    network = await Network.create()
    try:
        address = LINKS / network.bridge / "address"
        before = address.read_text()
        seen = set()
        for _ in range(3):
            with ExitStack() as pods:
                for _ in range(4):
                    await network.attach(pods.enter_context(sandbox()))
                    seen.add(address.read_text())
            seen.add(address.read_text())
        assert seen == {before}
    finally:
        network.close()
