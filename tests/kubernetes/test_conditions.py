"""What the status says: each state of pods and Deployment in its own words."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from superinfer_contract.service import SuperInferService
from superinfer_operator import service_status
from superinfer_operator.children import Children, NodeSeen
from superinfer_operator.conditions import ConditionType
from superinfer_operator.crd.status import ServiceStatus
from superinfer_operator.node_memory import judge
from superinfer_operator.transitions import Condition, as_status, events
from superinfer_operator.workload_health import conditions

Service = Callable[..., SuperInferService]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)


def deployment(wanted: int = 1, updated: int = 1, present: int = 1, done: bool = True) -> Any:
    complete = [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
    return {
        "metadata": {"generation": 2},
        "spec": {"replicas": wanted},
        "status": {
            "observedGeneration": 2,
            "replicas": present,
            "updatedReplicas": updated,
            "conditions": complete if done else [],
        },
    }


def pod(ready: bool = True, **status: Any) -> Any:
    condition = {"type": "Ready", "status": str(ready)}
    return {
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n"},
        "status": {"phase": "Running", "conditions": [condition], **status},
    }


def waiting(**container: Any) -> Any:
    return pod(ready=False, containerStatuses=[{"name": "runtime", **container}])


def judged(there: Any, *pods: Any) -> dict[ConditionType, Condition]:
    objects = {} if there is None else {("Deployment", "chat"): there}
    children = Children(objects, {f"p{number}": each for number, each in enumerate(pods)})
    return {each.type: each for each in conditions("chat", children)}


def test_a_service_that_was_never_seen_claims_nothing_good() -> None:
    found = judged(None)

    assert found[ConditionType.READY].status is False
    assert found[ConditionType.SERVABLE].status is False
    assert found[ConditionType.PROGRESSING].status is True
    assert found[ConditionType.NODE_MEMORY_MODEL_READY].status is None


def test_all_is_well() -> None:
    found = judged(deployment(), pod())

    assert found[ConditionType.READY].status is True
    assert found[ConditionType.SERVABLE].status is True
    assert found[ConditionType.PROGRESSING].status is False
    assert found[ConditionType.DEGRADED].status is False


def test_a_rolling_update_is_servable_and_progressing_at_once() -> None:
    found = judged(deployment(updated=1, present=2, done=False), pod(), pod(ready=False))

    assert found[ConditionType.SERVABLE].status is True
    assert found[ConditionType.PROGRESSING].status is True
    assert (found[ConditionType.READY].status, found[ConditionType.READY].reason) == (
        False,
        "RollingOut",
    )


def test_a_pod_that_is_unready_for_a_moment_is_no_rollout() -> None:
    found = judged(deployment(), pod(ready=False))

    assert found[ConditionType.PROGRESSING].status is False
    assert found[ConditionType.SERVABLE].status is False
    assert found[ConditionType.DEGRADED].status is False


def test_a_rollout_that_is_stuck_says_what_the_deployment_says() -> None:
    stuck = deployment(updated=0)
    stuck["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "message": "deadline exceeded"}
    ]

    found = judged(stuck, pod())

    assert found[ConditionType.PROGRESSING].message == "deadline exceeded"
    assert found[ConditionType.PROGRESSING].is_bad
    assert found[ConditionType.DEGRADED].status is True


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (
            pod(False, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/2"}]),
            "not scheduled: 0/2",
        ),
        (
            waiting(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
            "ImagePullBackOff: no such image",
        ),
        (
            waiting(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 78, "message": "kv_cache:\n too small"}},
                restartCount=3,
            ),
            "the runtime refuses its configuration: kv_cache: too small (restarted 3 times)",
        ),
        (
            waiting(lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            "out of memory",
        ),
        (pod(False, phase="Failed", message="no GPU is left"), "failed: no GPU is left"),
    ],
)
def test_what_is_wrong_with_a_pod_is_said(trouble: Any, said: str) -> None:
    found = judged(deployment(), trouble)

    assert said in found[ConditionType.DEGRADED].message
    assert said in found[ConditionType.READY].message


@pytest.mark.parametrize(
    "fine",
    [
        waiting(state={"waiting": {"reason": "ContainerCreating"}}),
        pod(False) | {"metadata": {"name": "p", "deletionTimestamp": "now"}},
    ],
)
def test_what_takes_its_time_is_no_trouble(fine: Any) -> None:
    assert judged(deployment(), fine)[ConditionType.DEGRADED].status is False


def test_a_pod_that_ended_and_was_replaced_is_past_trouble() -> None:
    assert (
        judged(deployment(), pod(), pod(False, phase="Failed"))[ConditionType.DEGRADED].status
        is False
    )


def test_memory_beyond_graces_own_means_that_hbm_is_counted() -> None:
    product = "NVIDIA-GH200-480GB"

    assert judge([NodeSeen("n", gpu_product=product, memory_bytes=470 * 2**30)]).ready is True
    counted = judge([NodeSeen("n", gpu_product=product, memory_bytes=560 * 2**30)])
    assert (counted.ready, counted.reason) == (False, "HBMCountedAsMemory")
    assert judge([]).ready is None


def condition(status: bool | None, reason: str = "Because") -> Condition:
    return Condition(ConditionType.SERVABLE, status, reason, "words")


def test_a_transition_has_the_time_at_which_the_status_changed() -> None:
    first = as_status([condition(True)], [], 1, NOW)
    same = as_status([condition(True, "Other")], first, 2, LATER)
    other = as_status([condition(False)], same, 2, LATER)

    assert same[0]["lastTransitionTime"] == first[0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert same[0]["observedGeneration"] == 2
    assert other[0]["lastTransitionTime"] == "2026-01-02T04:04:05Z"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (True, True, False),
        (True, False, True),
        (False, True, True),
        (True, None, False),
        (None, True, False),
        (None, False, True),
    ],
)
def test_events_tell_transitions_only(before: bool | None, after: bool | None, told: bool) -> None:
    written = as_status([condition(before)], [], 1, NOW)

    assert bool(events([condition(after)], written)) is told
    assert events([condition(after)], []) == []


def test_the_status_is_what_the_crd_takes_and_counts_are_not_weighty(service: Service) -> None:
    children = Children({("Deployment", "chat"): deployment()}, {"p": pod()})
    looked = service_status.Looked(service(), children, None, None, None, None)

    status = service_status.build(looked, service_status.conditions(looked), {}, NOW)

    ServiceStatus.model_validate(status)
    counted = {**status, "pods": [{"name": "p"}], "attainment": "chat 97%"}
    assert service_status.weighty(counted) == service_status.weighty(status)
    assert service_status.weighty({**status, "replicas": 7}) != service_status.weighty(status)


def test_an_unreadable_spec_is_said_and_the_rest_is_kept() -> None:
    before = {"replicas": 2, "conditions": as_status([condition(True)], [], 1, NOW)}

    found = [Condition(ConditionType.READY, False, "InvalidSpec", "spec.kvCache: min")]

    status = service_status.invalid(2, found, before, LATER)

    ServiceStatus.model_validate(status)
    assert status["replicas"] == 2
    assert {each["type"]: each["reason"] for each in status["conditions"]} == {
        "Ready": "InvalidSpec",
        "Servable": "Because",
    }
