"""One service in a cluster, watched by Prometheus under a load that makes it rotate.

Used by the test, by `make charts` and to draw the panels.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from cluster import OPERATOR, OPERATOR_NAMESPACE, Cluster
from prometheus_process import Prometheus, Target
from superinfer_contract.headers import SLO_CLASS
from superinfer_runtime.demo.scenario import Scenario

MIB = 2**20
CONCURRENCY = 20
"""About twice as many requests as the HBM budget holds."""
REQUEST_TIMEOUT_S = 300.0
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
async def under_load(url: str, scenario: Scenario) -> AsyncIterator[None]:
    """Keep more requests under way than HBM holds, while the context lasts.

    Closed loop: a slow machine gets no more than it finishes, a fast one is never without pressure.
    """
    names = itertools.cycle(each.name for each in scenario.classes)
    # trust_env off: loopback never goes through a proxy.
    async with httpx.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
        asking = [
            asyncio.create_task(_keep_asking(http, scenario, name))
            for name in itertools.islice(names, CONCURRENCY)
        ]
        try:
            yield
        finally:
            for task in asking:
                task.cancel()
            ended = await asyncio.gather(*asking, return_exceptions=True)
    for failed in ended:
        if isinstance(failed, Exception):
            raise failed


async def _keep_asking(http: httpx.AsyncClient, scenario: Scenario, slo_class: str) -> None:
    for number in itertools.count():
        body = {
            "prompt": f"{slo_class} {number} ".ljust(scenario.input_tokens, "."),
            "max_tokens": scenario.output_tokens,
            "ignore_eos": True,
        }
        answer = await http.post("/v1/completions", json=body, headers={SLO_CLASS: slo_class})
        answer.raise_for_status()
