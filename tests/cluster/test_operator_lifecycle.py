"""A service's life on the real API server, its pods real processes, the operator a pod itself."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from cluster import Cluster, condition, holds, light_service
from steady_load import SteadyLoad

pytestmark = pytest.mark.cluster

READY = holds("Ready", "Servable")
MIB = 2**20
LEFTOVER_KINDS = "deployments,replicasets,pods,services,configmaps,secrets,pdb,networkpolicies"


def dram(sis: dict[str, Any], what: str = "allocatedBytes") -> int:
    """A figure of the DRAM tier in a service's status."""
    found = sis.get("status", {}).get("kvCache", {}).get("dram", {}).get(what, 0)
    return int(found)


async def only_pod(cluster: Cluster, team: str, name: str = "chat") -> dict[str, Any]:
    (pod,) = await cluster.pods_of(team, name)
    return pod


async def reasons(cluster: Cluster, team: str) -> dict[str, str]:
    """The Events about services: message by reason."""
    told = await cluster.items(team, "events")
    return {
        event["reason"]: event["message"]
        for event in told
        if event["involvedObject"]["kind"] == "SuperInferService"
    }


async def test_load_moves_the_budget_of_a_running_pod_and_calm_moves_it_back(
    cluster: Cluster, team: str
) -> None:
    await cluster.apply(light_service("chat", team))
    await cluster.until(team, "sis", "chat", READY)
    url = await cluster.address(team, "chat")
    pod = await only_pod(cluster, team)
    pid = cluster.kubelet.pid_of(team, pod["metadata"]["name"])

    async with SteadyLoad.on(url, concurrency=30) as load:
        grown = await cluster.until(team, "sis", "chat", lambda sis: dram(sis) >= 24 * MIB)
    assert load.failures == []
    assert grown["status"]["lastDecision"]["rung"] == "GrowDRAM"
    assert "DRAM" in grown["status"]["lastDecision"]["reason"]
    assert "GrowDRAM" in await reasons(cluster, team)

    after = await only_pod(cluster, team)
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert cluster.kubelet.pid_of(team, pod["metadata"]["name"]) == pid
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0

    shrunk = await cluster.until(team, "sis", "chat", lambda sis: dram(sis) == 8 * MIB, 120)
    assert shrunk["status"]["lastDecision"]["rung"] == "ShrinkDRAM"

    await cluster.kubectl("-n", team, "delete", "sis", "chat", "--timeout=60s")
    await nothing_left(cluster, team)


async def nothing_left(cluster: Cluster, team: str) -> None:
    """Wait until all that the operator made is gone."""
    async with asyncio.timeout(60):
        while await cluster.items(team, LEFTOVER_KINDS, "app.kubernetes.io/part-of=superinfer"):
            await asyncio.sleep(0.5)


async def test_plan_mode_says_what_it_would_do_and_does_nothing(
    cluster: Cluster, team: str
) -> None:
    await cluster.apply(light_service("chat", team, mode="Plan"))

    planned = await cluster.until(
        team,
        "sis",
        "chat",
        lambda sis: condition(sis, "Progressing").get("reason") == "PlanOnly",
        120,
    )

    assert "create Secret chat-tokens" in condition(planned, "Progressing")["message"]
    assert await cluster.items(team, LEFTOVER_KINDS, "app.kubernetes.io/part-of=superinfer") == []


async def test_what_somebody_edits_or_deletes_is_put_back(cluster: Cluster, team: str) -> None:
    await cluster.apply(light_service("chat", team))
    await cluster.until(team, "sis", "chat", READY)
    wanted = (await cluster.get(team, "service", "chat"))["spec"]["ports"]

    await cluster.kubectl("-n", team, "delete", "service", "chat")
    await cluster.until(team, "service", "chat", lambda found: found)
    edit = json.dumps({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 20}}}})
    await cluster.kubectl("-n", team, "patch", "deployment", "chat", "-p", edit)

    def is_back(deployment: dict[str, Any]) -> bool:
        pod = deployment["spec"]["template"]["spec"]
        return bool(pod["terminationGracePeriodSeconds"] == 10 + 5 + 15)

    await cluster.until(team, "deployment", "chat", is_back)
    assert (await cluster.get(team, "service", "chat"))["spec"]["ports"] == wanted


async def test_a_scaler_owns_the_replicas_and_keeps_them(cluster: Cluster, team: str) -> None:
    await cluster.apply(light_service("chat", team, replicas=2))
    await cluster.until(team, "sis", "chat", READY)

    # From now on somebody else scales the Deployment: it keeps its two replicas meanwhile.
    await cluster.apply(light_service("chat", team, autoscaling={"scaler": "External"}))
    await cluster.until(team, "sis", "chat", READY)
    assert (await cluster.get(team, "deployment", "chat"))["spec"]["replicas"] == 2
    await cluster.kubectl("-n", team, "scale", "deployment", "chat", "--replicas=1")
    await asyncio.sleep(16)

    assert (await cluster.get(team, "deployment", "chat"))["spec"]["replicas"] == 1


async def test_scaling_the_service_scales_its_pods(cluster: Cluster, team: str) -> None:
    await cluster.apply(light_service("chat", team, replicas=1))
    await cluster.until(team, "sis", "chat", READY)

    await cluster.kubectl("-n", team, "scale", "sis", "chat", "--replicas=2")

    scaled = await cluster.until(
        team, "sis", "chat", lambda sis: sis["status"].get("readyReplicas") == 2
    )
    assert scaled["status"]["replicas"] == 2


async def test_a_rolling_update_fails_no_request(cluster: Cluster, team: str) -> None:
    await cluster.apply(light_service("chat", team, replicas=1))
    await cluster.until(team, "sis", "chat", READY)
    url = await cluster.address(team, "chat")
    old = await only_pod(cluster, team)

    async with SteadyLoad.on(url, concurrency=4) as load:
        await cluster.apply(light_service("chat", team, "--hold-s=0.4", replicas=1))
        await cluster.until(team, "sis", "chat", READY)
        await cluster.kubectl(
            *("-n", team, "wait", "pod", old["metadata"]["name"], "--for=delete", "--timeout=60s")
        )
        await asyncio.sleep(1)

    assert load.failures == []
    assert load.answered > 50


async def test_a_node_drain_fails_no_request_even_of_a_lone_replica(
    cluster: Cluster, team: str
) -> None:
    await cluster.apply(light_service("chat", team))
    await cluster.until(team, "sis", "chat", READY)
    url = await cluster.address(team, "chat")
    node = (await only_pod(cluster, team))["spec"]["nodeName"]

    try:
        async with SteadyLoad.on(url, concurrency=4) as load:
            await cluster.kubectl(
                *("drain", node, "--ignore-daemonsets", "--delete-emptydir-data"),
                "--pod-selector=superinfer.dev/service=chat,app.kubernetes.io/instance=chat",
                "--timeout=110s",
            )
            await asyncio.sleep(1)
    finally:
        await cluster.kubectl("uncordon", node)

    assert load.failures == []
    assert load.answered > 50
    assert (await only_pod(cluster, team))["spec"]["nodeName"] != node


async def test_a_pod_that_cannot_start_says_why_in_the_status(cluster: Cluster, team: str) -> None:
    service = light_service("chat", team)
    container = service["spec"]["podTemplate"]["spec"]["containers"][0]
    container["command"] = ["sh", "-c", "echo error: kv_cache.hbm is too small >&2; exit 78"]
    await cluster.apply(service)

    # Until then it may say, truly, that another test's pod still holds the GPUs.
    said = await cluster.until(
        team,
        "sis",
        "chat",
        lambda sis: "refuses its configuration" in condition(sis, "Degraded").get("message", ""),
    )

    assert condition(said, "Degraded")["status"] == "True"
    assert "kv_cache.hbm is too small" in condition(said, "Ready")["message"]


async def test_what_the_api_server_refuses_is_said_in_the_status(
    cluster: Cluster, team: str
) -> None:
    service = light_service("chat", team)
    service["spec"]["podTemplate"]["spec"]["containers"][0]["imagePullPolicy"] = "Sometimes"
    await cluster.apply(service)

    said = await cluster.until(
        team, "sis", "chat", lambda sis: condition(sis, "Degraded").get("reason") == "ApplyFailed"
    )

    assert "imagePullPolicy" in condition(said, "Degraded")["message"]


async def test_telemetry_needs_the_services_own_token(cluster: Cluster, team: str) -> None:
    found = await cluster.get("superinfer-system", "service", "superinfer-operator")
    url = f"http://{found['spec']['clusterIP']}:4318/v1/metrics"
    headers = {"content-type": "application/x-protobuf", "authorization": "Bearer a.b.c"}

    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, content=b"", headers=headers)

    assert answer.status_code == httpx.codes.UNAUTHORIZED
