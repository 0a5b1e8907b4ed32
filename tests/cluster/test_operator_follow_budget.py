"""FollowBudget on the real API server: a pod's memory limit and its DRAM budget move together."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster, condition, holds, light_service
from kubelet.resize import ResizePolicy
from lightkube.utils.quantity import parse_quantity
from steady_load import SteadyLoad
from superinfer_contract.service import SuperInferService
from superinfer_operator.pod_memory import pod_memory_bytes

pytestmark = pytest.mark.cluster

MIB = 2**20


def follower(team: str, **spec: Any) -> dict[str, Any]:
    """A service whose DRAM tier is real memory, and whose pod's size follows it."""
    service = light_service("chat", team, "--ballast", **spec)
    service["spec"]["kvCache"]["policy"] = "FollowBudget"
    return service


def dram(sis: dict[str, Any]) -> int:
    return int(sis.get("status", {}).get("kvCache", {}).get("dram", {}).get("allocatedBytes", 0))


def granted(pod: dict[str, Any]) -> int:
    """The memory limit in force, as the kubelet tells it."""
    limits = pod["status"]["containerStatuses"][0]["resources"]["limits"]
    return int(parse_quantity(limits["memory"]) or 0)


async def the_pod(cluster: Cluster, team: str) -> dict[str, Any]:
    (pod,) = await cluster.pods_of(team, "chat")
    return pod


def limit_for(service: dict[str, Any], dram_bytes: int) -> int:
    return pod_memory_bytes(SuperInferService.model_validate(service).spec.resources, dram_bytes)


@pytest.fixture
def resizes(cluster: Cluster) -> Iterator[Any]:
    """Sets how the nodes answer resizes; granted again after the test."""

    def answer(policy: ResizePolicy) -> None:
        for node in cluster.kubelet.nodes.values():
            node.resize_policy = policy

    yield answer
    answer(ResizePolicy.GRANT)


async def test_limit_and_budget_move_together_both_ways(cluster: Cluster, team: str) -> None:
    service = follower(team)
    await cluster.apply(service)
    await cluster.until(team, "sis", "chat", holds("Ready", "Servable"))
    pod = await the_pod(cluster, team)
    assert granted(pod) == limit_for(service, 8 * MIB)

    async with SteadyLoad.on(await cluster.address(team, "chat"), concurrency=30) as load:
        await cluster.until(team, "sis", "chat", lambda sis: dram(sis) >= 24 * MIB)
        raised = await the_pod(cluster, team)
        assert granted(raised) >= limit_for(service, 24 * MIB)
    assert load.failures == []
    assert raised["metadata"]["uid"] == pod["metadata"]["uid"]
    assert raised["status"]["containerStatuses"][0]["restartCount"] == 0

    await cluster.until(team, "sis", "chat", lambda sis: dram(sis) == 8 * MIB, 120)
    await cluster.until(
        team,
        "pod",
        pod["metadata"]["name"],
        lambda seen: granted(seen) == limit_for(service, 8 * MIB),
    )


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(ResizePolicy.INFEASIBLE, "Infeasible"), (ResizePolicy.DEFER, "NodeFull")],
)
async def test_a_refused_resize_is_said_and_the_next_rung_is_taken(
    cluster: Cluster, team: str, resizes: Any, policy: ResizePolicy, reason: str
) -> None:
    resizes(policy)
    scaled = {"scaler": "Ladder", "maxReplicas": 2}
    await cluster.apply(follower(team, autoscaling=scaled))
    await cluster.until(team, "sis", "chat", holds("Ready", "Servable"))

    async with SteadyLoad.on(await cluster.address(team, "chat"), concurrency=30) as load:
        await cluster.until(
            team,
            "sis",
            "chat",
            lambda sis: condition(sis, "KVBudgetResized").get("reason") == reason,
        )
        added = await cluster.until(
            team,
            "sis",
            "chat",
            lambda sis: sis["status"].get("wish", {}).get("replicas") == 2,
            120,
        )
        await asyncio.sleep(1)

    assert load.failures == []
    assert dram(added) == 8 * MIB
    events = {event["reason"] for event in await cluster.items(team, "events")}
    assert {"GrowDRAM", "AddReplica"} <= events
