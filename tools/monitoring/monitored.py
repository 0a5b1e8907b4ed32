"""One service in a cluster, watched by Prometheus under a load that makes it rotate.

Used by the test, by `make charts` and to draw the panels.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cluster import OPERATOR, OPERATOR_NAMESPACE, Cluster
from prometheus_process import Prometheus, Target
from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.runner import run_load
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.demo.scenario import Scenario

MIB = 2**20
QUICK = Scenario(
    num_layers=4,
    hbm_bytes=4 * MIB,
    dram_initial_bytes=2 * MIB,
    dram_max_bytes=40 * MIB,
    dram_step_bytes=4 * MIB,
    slab_bytes=MIB,
)
"""The demo's service with a sixth of its layers and memory: requests take seconds."""


@contextlib.asynccontextmanager
async def prometheus_beside(
    cluster: Cluster, folder: Path, namespace: str, service: str
) -> AsyncIterator[Prometheus]:
    """Scrape the operator and the one pod of ``service``, labelled as a ServiceMonitor would."""
    operator = await cluster.get(OPERATOR_NAMESPACE, "service", OPERATOR)
    ports = {port["name"]: port["port"] for port in operator["spec"]["ports"]}
    (pod,) = await cluster.pods_of(namespace, service)
    runtime = (await cluster.address(namespace, service)).removeprefix("http://")
    targets = [
        Target(
            OPERATOR,
            f"{operator['spec']['clusterIP']}:{ports['http']}",
            {"namespace": OPERATOR_NAMESPACE, "pod": await cluster.operator_pod()},
        ),
        Target(
            service,
            runtime,
            {"namespace": namespace, "service": service, "pod": pod["metadata"]["name"]},
        ),
    ]
    async with Prometheus.scraping(folder, targets) as prometheus:
        yield prometheus


@contextlib.asynccontextmanager
async def under_load(url: str, scenario: Scenario, duration_s: float) -> AsyncIterator[None]:
    """Offer more than HBM holds, for ``duration_s`` or while the context lasts."""
    load = Workload(
        seed=scenario.seed,
        duration_s=duration_s,
        process=ArrivalProcess.GAMMA,
        burstiness=scenario.burstiness,
        request_rate=3.0,
        input_tokens=scenario.input_tokens,
        output_tokens=scenario.output_tokens,
        range_ratio=scenario.range_ratio,
        classes=scenario.classes,
    )
    stop = asyncio.Event()
    loading = asyncio.create_task(run_load(Endpoint(url), load, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await loading
