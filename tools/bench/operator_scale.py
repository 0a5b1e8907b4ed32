"""How the operator carries many services, on a real API server: time, CPU, memory, API calls.

The pods are played: an administrator writes that they are ready, and one server on the loopback
answers for all runtimes. So what is measured is the operator alone, with every service's control
loop at work.
"""

import asyncio
import json
import re
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn
from control_plane import ControlPlane
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from superinfer_contract.kv_budget import PATH, KvBudget, TierState

ROOT = Path(__file__).resolve().parents[2]
NUM_SERVICES = 200
REST_S = 60.0
TIMEOUT_S = 300.0
NAMESPACE = "scale"
MIB = 2**20


async def measure(num_services: int = NUM_SERVICES) -> dict[str, Any]:
    """Return the figures of ``num_services`` services that come at once and then rest."""
    with tempfile.TemporaryDirectory(prefix="superinfer-scale-") as folder:
        async with ControlPlane.start(Path(folder)) as cluster:
            return await _measure(cluster, Path(folder), num_services)


async def _measure(cluster: ControlPlane, folder: Path, num_services: int) -> dict[str, Any]:
    runtimes = uvicorn.Server(
        uvicorn.Config(_runtime(), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )
    serving = asyncio.create_task(runtimes.serve())
    await _until(lambda: runtimes.started)
    runtime_port = runtimes.servers[0].sockets[0].getsockname()[1]
    for path in ("crds", "deploy"):
        await asyncio.to_thread(cluster.kubectl, "apply", "--server-side", "-f", str(ROOT / path))
    cluster.kubectl("-n", "superinfer-system", "delete", "deployment", "superinfer-operator")
    cluster.kubectl("create", "namespace", NAMESPACE)
    operator, http_port = await _start_operator(cluster, folder)
    try:
        process = psutil.Process(operator.pid)
        started_s = time.monotonic()
        services = [_service(number, runtime_port) for number in range(num_services)]
        listed = {"apiVersion": "v1", "kind": "List", "items": services}
        await asyncio.to_thread(cluster.kubectl, "create", "-f", "-", input=json.dumps(listed))
        created_s = time.monotonic() - started_s
        deployed = await _until(lambda: _count(cluster, "deployments") == num_services)
        playing = asyncio.create_task(_play_pods(cluster))
        ready = await _until(lambda: _num_ready(cluster) == num_services)
        playing.cancel()
        before = await _calls(http_port)
        cpu_s = sum(process.cpu_times()[:2])
        await asyncio.sleep(REST_S)
        calls = await _calls(http_port) - before
        return {
            "services": num_services,
            "created_s": round(created_s, 1),
            "all_deployed_s": round(deployed - started_s, 1),
            "all_ready_s": round(ready - started_s, 1),
            "cpu_s_until_ready": round(cpu_s, 1),
            "cpu_share_at_rest": round((sum(process.cpu_times()[:2]) - cpu_s) / REST_S, 3),
            "rss_mib": round(process.memory_info().rss / MIB),
            "api_calls_per_service_per_minute_at_rest": round(
                calls / num_services * 60 / REST_S, 2
            ),
        }
    finally:
        operator.terminate()
        await operator.wait()
        runtimes.should_exit = True
        await serving


async def _start_operator(
    cluster: ControlPlane, folder: Path
) -> tuple[asyncio.subprocess.Process, int]:
    key = folder / "signing-key"
    key.write_text(secrets.token_hex(32))
    kubeconfig = cluster.kubeconfig_for_service_account("superinfer-system", "superinfer-operator")
    port = _free_port()
    operator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "superinfer_operator", "run"),
        *(f"--signing-key={key}", "--runtime-image=none", "--host=127.0.0.1"),
        *(f"--http-port={port}", "--otlp-http-port=0", "--otlp-grpc-port=0"),
        "--otlp-endpoint=http://127.0.0.1:4318",
        "--log-level=error",
        env={"PATH": "/usr/bin:/bin", "KUBECONFIG": str(kubeconfig), "HOME": str(folder)},
    )
    return operator, port


def _service(number: int, runtime_port: int) -> dict[str, Any]:
    return {
        "apiVersion": "superinfer.dev/v1alpha1",
        "kind": "SuperInferService",
        "metadata": {"name": f"s{number:03}", "namespace": NAMESPACE},
        "spec": {
            "server": {"port": runtime_port},
            "kvCache": {"hbm": {"max": "8Mi"}, "dram": {"max": "16Mi"}, "slab": "1Mi"},
        },
    }


def _runtime() -> Starlette:
    tier = TierState(
        min_bytes=0,
        max_bytes=16 * MIB,
        desired_bytes=16 * MIB,
        allocated_bytes=16 * MIB,
        in_use_bytes=0,
        step_bytes=MIB,
    )
    hbm = tier.model_copy(
        update={"max_bytes": 8 * MIB, "desired_bytes": 8 * MIB, "allocated_bytes": 8 * MIB}
    )
    answer = KvBudget(hbm=hbm, dram=tier, pending=False, class_shares={"default": 1.0})

    async def budget(_: Request) -> JSONResponse:
        return JSONResponse(answer.model_dump())

    return Starlette(routes=[Route(PATH, budget, methods=["GET", "PATCH"])])


async def _play_pods(cluster: ControlPlane) -> None:
    """Say of every pod that it is ready, on the loopback."""
    done: set[str] = set()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": now}]
    status = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    patch = json.dumps({"status": {**status, "conditions": ready}})
    while True:
        told = await asyncio.to_thread(
            cluster.kubectl, "-n", NAMESPACE, "get", "pods", "-o", "name"
        )
        todo = set(told.split()) - done
        if todo:
            await asyncio.to_thread(
                cluster.kubectl,
                *("-n", NAMESPACE, "patch", *sorted(todo)),
                *("--subresource=status", "--type=strategic", "-p", patch),
            )
            done |= todo
        await asyncio.sleep(1)


def _count(cluster: ControlPlane, kind: str) -> int:
    return len(cluster.kubectl("-n", NAMESPACE, "get", kind, "-o", "name").split())


def _num_ready(cluster: ControlPlane) -> int:
    condition = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    told = cluster.kubectl("-n", NAMESPACE, "get", "sis", "-o", f"jsonpath={condition}")
    return told.split().count("True")


async def _calls(http_port: int) -> float:
    """How many API calls the operator has counted."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{http_port}/metrics")).text
    found = re.findall(r"^superinfer_operator_api_requests_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


async def _until(met: Callable[[], bool]) -> float:
    """Return the time at which ``met`` first held."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await asyncio.to_thread(met):
            await asyncio.sleep(0.2)
    return time.monotonic()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure()), indent=2))
