"""`make cluster`: the whole story on a real Kubernetes API server, on this machine. Ends by itself.

Control plane, operator under its own ServiceAccount, nodes that run pods as processes, and one
SuperInferService with two SLO classes, served by vLLM on this CPU: load comes, the operator grows
the DRAM budget of the running pod, load goes, it shrinks; its node is drained under load; it is
deleted. Exit code 1 if any of that did not happen.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster import Cluster, holds
from daemon_process import DaemonFailed
from steady_load import SteadyLoad
from superinfer_contract.quantity import format_bytes
from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.runner import run_load
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.demo.scenario import Scenario
from superinfer_runtime.tiny_model import ensure_tiny_model

TEAM, NAME = "demo", "chat"
PORT = 8000
START_TIMEOUT_S = 420.0
SETTLE_TIMEOUT_S = 240.0
SHRINK_AFTER_S = 15
KINDS = "deployments,replicasets,pods,services,configmaps,secrets,pdb,networkpolicies"
MADE_BY_US = "app.kubernetes.io/part-of=superinfer"


@dataclass
class Result:
    """What `out/cluster.json` holds."""

    kubernetes_version: str = ""
    install_s: float = 0.0
    ready_s: float = 0.0
    dram_bytes_before: int = 0
    dram_bytes_peak: int = 0
    dram_bytes_after: int = 0
    pod_uid_unchanged: bool = False
    process_unchanged: bool = False
    requests: int = 0
    failed_requests: int = 0
    joint_attainment: float = 0.0
    drain_requests: int = 0
    drain_failed_requests: int = 0
    last_decision: str = ""
    events: dict[str, str] = field(default_factory=dict)
    """The last message of each reason."""
    leftovers: list[str] = field(default_factory=list)

    def shortcomings(self) -> list[str]:
        """What the run was to show and did not."""
        claims = {
            "the DRAM budget grew": self.dram_bytes_peak > self.dram_bytes_before,
            "it shrank again": self.dram_bytes_after < self.dram_bytes_peak,
            "pod and process stayed": self.pod_uid_unchanged and self.process_unchanged,
            "no request failed": not self.failed_requests + self.drain_failed_requests,
            "requests were answered during the drain": self.drain_requests > 0,
            "an Event says why": "GrowDRAM" in self.events,
            "nothing is left behind": not self.leftovers,
        }
        return [claim for claim, holds_true in claims.items() if not holds_true]


def service(model: Path, scenario: Scenario) -> dict[str, Any]:
    """The service of `make demo`, as Kubernetes gets it."""
    manifest = scenario.service("rotasched", PORT, model)
    manifest["metadata"] = {"name": NAME, "namespace": TEAM}
    spec = manifest["spec"]
    spec["resources"] = {"gpus": 1, "memory": "8Gi"}
    spec["rollout"] = {"startTimeoutSeconds": int(START_TIMEOUT_S)}
    spec["server"] = {"drainSeconds": 30}
    spec["budget"]["shrinkAfterSeconds"] = SHRINK_AFTER_S
    offline = [{"name": name, "value": "1"} for name in ("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS")]
    spec["podTemplate"] = {"spec": {"containers": [{"name": "runtime", "env": offline}]}}
    return manifest


async def story(cluster: Cluster, scenario: Scenario, model: Path, result: Result) -> None:
    """Install, serve, overload, calm, drain, delete."""
    started_s = time.monotonic()
    result.kubernetes_version = cluster.control_plane.version
    say(f"Kubernetes {result.kubernetes_version}; installing the operator")
    await cluster.install_operator()
    result.install_s = round(time.monotonic() - started_s, 1)

    await cluster.kubectl("create", "namespace", TEAM)
    await cluster.apply(service(model, scenario))
    say("applied the service; vLLM loads the model in its pod")
    async with watching(cluster):
        ready = await cluster.until(
            TEAM, "sis", NAME, holds("Ready", "Servable", "TelemetryAvailable"), START_TIMEOUT_S
        )
        result.ready_s = round(time.monotonic() - started_s, 1)
        await overload_and_calm(cluster, scenario, result, dram(ready))
        await drain(cluster, result)
        told = await cluster.items(TEAM, "events")
        result.events = {
            event["reason"]: event["message"]
            for event in told
            if event["involvedObject"]["kind"] == "SuperInferService"
        }
        result.leftovers = await delete(cluster)


async def overload_and_calm(
    cluster: Cluster, scenario: Scenario, result: Result, before_bytes: int
) -> None:
    """Grow under load and shrink after it, in one and the same process."""
    url = await cluster.address(TEAM, NAME)
    (pod,) = await cluster.pods_of(TEAM, NAME)
    pid = cluster.kubelet.pid_of(TEAM, pod["metadata"]["name"])
    result.dram_bytes_before = before_bytes
    saturated = await offer(url, scenario.saturating_load(), result)
    rate = scenario.load_share * saturated.total.completed / saturated.duration_s
    say(f"offering {rate:.2f} requests/s for {scenario.duration_s:g} s: more than HBM holds")
    async with noting_the_peak(cluster, result):
        report = await offer(url, scenario.load(rate), result)
    result.joint_attainment = round(report.joint_attainment, 3)
    say(f"load is over; DRAM budget {format_bytes(result.dram_bytes_peak)}")
    after = await cluster.until(
        TEAM, "sis", NAME, lambda sis: dram(sis) < result.dram_bytes_peak, SETTLE_TIMEOUT_S
    )
    result.dram_bytes_after = dram(after)
    (same,) = await cluster.pods_of(TEAM, NAME)
    result.pod_uid_unchanged = same["metadata"]["uid"] == pod["metadata"]["uid"]
    result.process_unchanged = cluster.kubelet.pid_of(TEAM, pod["metadata"]["name"]) == pid


@contextlib.asynccontextmanager
async def noting_the_peak(cluster: Cluster, result: Result) -> AsyncIterator[None]:
    """Note the largest DRAM budget of the time, and the decision that stood beside it."""

    async def look() -> None:
        while True:
            sis = await cluster.get(TEAM, "sis", NAME)
            if dram(sis) > result.dram_bytes_peak:
                result.dram_bytes_peak = dram(sis)
                result.last_decision = sis["status"]["lastDecision"]["reason"]
            await asyncio.sleep(0.5)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


async def offer(url: str, load: Workload, result: Result) -> Report:
    report = await run_load(Endpoint(url), load)
    result.requests += report.total.requests
    result.failed_requests += report.total.failed
    return report


async def drain(cluster: Cluster, result: Result) -> None:
    """Drain the pod's node under load: the successor serves before the pod goes."""
    (pod,) = await cluster.pods_of(TEAM, NAME)
    node = pod["spec"]["nodeName"]
    say(f"kubectl drain {node}, under load")
    url = await cluster.address(TEAM, NAME)
    # Pauses: two engines share this machine's cores while the successor loads its model.
    async with SteadyLoad.on(url, concurrency=1, pause_s=1.5) as load:
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                drained = await asyncio.to_thread(
                    cluster.control_plane.run_kubectl,
                    *("drain", node, "--delete-emptydir-data", "--timeout=60s"),
                    f"--pod-selector=superinfer.dev/service={NAME}",
                )
                if drained.returncode == 0:
                    break
    result.drain_requests, result.drain_failed_requests = load.answered, len(load.failures)
    await cluster.kubectl("uncordon", node)
    say(f"drained; {load.answered} requests answered meanwhile, {len(load.failures)} failed")


async def delete(cluster: Cluster) -> list[str]:
    """Delete the service; returns what is left of it."""
    await cluster.kubectl("-n", TEAM, "delete", "sis", NAME, "--timeout=120s")
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        left = await cluster.items(TEAM, KINDS, MADE_BY_US)
        if not left or time.monotonic() > deadline_s:
            break
        await asyncio.sleep(1)
    return [f"{each['kind']}/{each['metadata']['name']}" for each in left]


@contextlib.asynccontextmanager
async def watching(cluster: Cluster) -> AsyncIterator[None]:
    """Show ``kubectl get sis -w`` while the context lasts."""
    watch = await asyncio.create_subprocess_exec(
        str(cluster.control_plane.tools / "kubectl"),
        *("-n", TEAM, "get", "sis", "-w"),
        env=cluster.control_plane.environment(),
    )
    try:
        yield
    finally:
        watch.terminate()
        await watch.wait()


def dram(sis: dict[str, Any]) -> int:
    found = sis.get("status", {}).get("kvCache", {}).get("dram", {}).get("allocatedBytes", 0)
    return int(found)


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


async def run(output: Path) -> int:
    scenario, result = Scenario(), Result()
    model = ensure_tiny_model(num_layers=scenario.num_layers)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="superinfer-cluster-") as folder:
        async with Cluster.start(Path(folder)) as cluster:
            try:
                await story(cluster, scenario, model, result)
            except AssertionError as error:
                print(f"error: {error}\n{cluster.logs(TEAM)}", file=sys.stderr)
                return 1
            finally:
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps(asdict(result), indent=2) + "\n")
    print(json.dumps(asdict(result), indent=2))
    minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
    say(f"written to {output}; {minutes} min {seconds} s")
    for shortcoming in result.shortcomings():
        print(f"not shown: {shortcoming}")
    return 1 if result.shortcomings() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/cluster.json"))
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return asyncio.run(run(options.output))
    except DaemonFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
