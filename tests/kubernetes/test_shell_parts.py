"""The small parts around the API server: frozen watches, signing keys, pods' memory, trimming."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from superinfer_contract.validation import ConfigError
from superinfer_operator.kube.replicas import pod_memory
from superinfer_operator.kube.trim import trimmed, trimmed_node, trimmed_pod
from superinfer_operator.ladder.view import Refusal, RefusalKind
from superinfer_operator.runtime_client import RuntimeClient, RuntimeRefused
from superinfer_operator.signing import SigningKeys
from superinfer_operator.tokens import Purpose, ServiceKey, verify
from superinfer_operator.watch_check import WatchCheck

GIB = 2**30
CHAT = ("team", "chat")


def test_a_watch_that_stays_behind_is_a_problem_and_one_that_catches_up_is_none() -> None:
    check = WatchCheck(patience_s=90)

    check.compare({CHAT: 4}, {CHAT: 3}, now_s=0)
    assert check.problem(now_s=60) is None
    check.compare({CHAT: 4}, {CHAT: 3}, now_s=60)
    assert check.lag_s(now_s=91) == 91
    assert "team/chat" in str(check.problem(now_s=91))
    check.compare({CHAT: 4}, {CHAT: 4}, now_s=100)
    assert check.problem(now_s=1000) is None


@pytest.mark.parametrize(("held", "seen"), [({CHAT: 1}, {}), ({}, {CHAT: 1})])
def test_services_that_come_and_go_unseen_are_noticed(held: Any, seen: Any) -> None:
    check = WatchCheck(patience_s=90)

    check.compare(held, seen, now_s=0)

    assert check.problem(now_s=91) is not None


def test_a_new_key_signs_and_the_old_one_still_counts(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a" * 40)
    signing = SigningKeys(file)
    old = signing.tokens("team", "chat")

    file.write_text("b" * 40 + "\n" + "a" * 40)
    new = signing.tokens("team", "chat")

    assert new.admin != old.admin
    assert new.fingerprint != old.fingerprint
    assert signing.admin_tokens("team", "chat") == [new.admin, old.admin]
    for token in (old.otlp, new.otlp):
        assert verify(signing.keys(), Purpose.OTLP, token) == ServiceKey("team", "chat")


def test_a_broken_key_file_leaves_the_keys_in_force(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("short")
    with pytest.raises(ConfigError, match="needs at least"):
        SigningKeys(file)
    file.write_text("a" * 40)
    signing = SigningKeys(file)
    before = signing.tokens("team", "chat")

    file.write_text("")

    assert signing.tokens("team", "chat") == before


async def test_a_runtime_may_still_hold_an_older_token() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["authorization"])
        right = request.headers["authorization"] == "Bearer old"
        return httpx.Response(409 if right else 401, json={"error": {"message": "no"}})

    async with RuntimeClient("http://runtime", "new", "old") as runtime:
        runtime._http._transport = httpx.MockTransport(answer)
        for _ in range(2):
            with pytest.raises(RuntimeRefused, match="409"):
                await runtime.get_budget()

    assert asked == ["Bearer new", "Bearer old", "Bearer old"]


def pod(limit: str, granted: str, **status: Any) -> dict[str, Any]:
    def resources(memory: str) -> dict[str, Any]:
        return {"name": "runtime", "resources": {"limits": {"memory": memory}}}

    return {
        "metadata": {"name": "p", "generation": 5, "namespace": "team"},
        "spec": {"nodeName": "n", "containers": [resources(limit), {"name": "side"}]},
        "status": {"observedGeneration": 5, "containerStatuses": [resources(granted)], **status},
    }


def test_a_pods_memory_is_read_in_any_quantity() -> None:
    for limit, size in (("1Gi", GIB), ("1024Mi", GIB), ("1e9", 10**9), (f"{GIB}000m", GIB)):
        memory = pod_memory(trimmed_pod(pod(limit, "512Mi")), None)
        assert memory is not None
        assert (memory.limit_bytes, memory.granted_bytes) == (size, GIB // 2)
        assert memory.caught_up


@pytest.mark.parametrize(
    ("kind", "reason", "refusal"),
    [
        ("PodResizePending", "Deferred", RefusalKind.DEFERRED),
        ("PodResizePending", "Infeasible", RefusalKind.INFEASIBLE),
        ("PodResizeInProgress", "Error", RefusalKind.ERROR),
        ("PodResizeInProgress", "", None),
    ],
)
def test_how_a_kubelet_turns_a_resize_down(
    kind: str, reason: str, refusal: RefusalKind | None
) -> None:
    condition = {"type": kind, "status": "True", "reason": reason, "message": "why"}

    memory = pod_memory(pod("1Gi", "1Gi", conditions=[condition]), None)

    assert memory is not None
    assert memory.refusal == (None if refusal is None else Refusal(refusal, "why"))


def test_what_the_server_said_counts_and_a_stale_status_is_told() -> None:
    said = Refusal(RefusalKind.INFEASIBLE, "exceeded quota")

    memory = pod_memory(pod("1Gi", "1Gi", observedGeneration=4), said)

    assert memory is not None
    assert memory.refusal == said
    assert not memory.caught_up
    assert pod_memory({"spec": {}, "status": {}}, None) is None


def test_only_what_is_looked_at_is_kept() -> None:
    node = {
        "metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "G"}},
        "spec": {"unschedulable": True},
        "status": {"capacity": {"memory": "4Ki"}, "images": ["x"] * 50},
    }
    config_map = {
        "kind": "ConfigMap",
        "metadata": {"name": "c", "managedFields": [1], "resourceVersion": "7"},
        "data": {"a": "b"},
    }

    seen = trimmed_node(node)

    assert (seen.name, seen.unschedulable, seen.gpu_product, seen.memory_bytes) == (
        "n",
        True,
        "G",
        4096,
    )
    assert trimmed(config_map) == {
        "kind": "ConfigMap",
        "metadata": {"name": "c", "resourceVersion": "7"},
    }
