"""Play GH200 nodes for the API server of a kubeconfig: python -m kubelet KUBECONFIG [NODE...]"""

import asyncio
import logging
import signal
import sys
import tempfile
from pathlib import Path

from kubelet.node import Node
from kubelet.worker_nodes import worker_nodes


async def play(kubeconfig: Path, names: list[str], folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with worker_nodes(kubeconfig, [Node.gh200(name) for name in names], folder):
        print(f"{len(names)} nodes; logs of pods in {folder}/logs; Ctrl-C ends them")
        await stop.wait()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="superinfer-kubelet-") as folder:
        asyncio.run(play(Path(sys.argv[1]), sys.argv[2:] or ["gh200-0", "gh200-1"], Path(folder)))
