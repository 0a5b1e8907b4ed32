"""A thousand clients at once at a runtime with the embedded model, and five hundred too many.

All requests of the first wave must be answered; of the second, those beyond the limit are told to
come again. Nothing else may happen.
"""

import asyncio
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
from serve_process import Serving, serving

NUM_CLIENTS = 1000
TOO_MANY = 1500
TIMEOUT_S = 600.0
MIB = 2**20


def measure() -> dict[str, object]:
    """Return the figures."""
    _raise_file_limit(TOO_MANY * 2)
    config = {
        "server": {"max_concurrent_requests": NUM_CLIENTS},
        "kv_cache": {"hbm": {"max": "64Mi"}, "dram": {"max": "64Mi"}, "slab": "8Mi"},
    }
    with (
        tempfile.TemporaryDirectory(prefix="superinfer-clients-") as folder,
        serving(Path(folder), config) as server,
    ):
        server.complete()  # warm
        before = _rss_mib(server)
        return {
            "limit": NUM_CLIENTS,
            "rss_mib_before": before,
            "waves": [asyncio.run(_wave(server, count)) for count in (NUM_CLIENTS, TOO_MANY)],
            "alive_after": server.complete().status_code == 200,
        }


async def _wave(server: Serving, num_clients: int) -> dict[str, object]:
    start_s = time.perf_counter()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=server.url, limits=limits, timeout=TIMEOUT_S, trust_env=False
    ) as http:
        asking = [asyncio.create_task(_ask(http)) for _ in range(num_clients)]
        peak = 0
        while not all(task.done() for task in asking):
            peak = max(peak, _rss_mib(server))
            await asyncio.sleep(0.5)
    return {
        "clients": num_clients,
        "answers": dict(Counter(task.result() for task in asking)),
        "seconds": round(time.perf_counter() - start_s, 1),
        "rss_mib_peak": peak,
    }


async def _ask(http: httpx.AsyncClient) -> str:
    body = {"prompt": "hello", "max_tokens": 8, "ignore_eos": True}
    try:
        return str((await http.post("/v1/completions", json=body)).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def _rss_mib(server: Serving) -> int:
    process = psutil.Process(server.process.pid)
    family = [process, *process.children(recursive=True)]
    return round(sum(each.memory_info().rss for each in family) / MIB)


def _raise_file_limit(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
