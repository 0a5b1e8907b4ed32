"""A lone pod on a node that is drained: moved once, never without a successor."""

from collections.abc import Callable
from typing import Any

import pytest
from played_cluster import PlayedCluster
from superinfer_contract.service import SuperInferService
from superinfer_operator.children import Children, is_ready
from superinfer_operator.objects.naming import MOVED_OFF_ANNOTATION
from superinfer_operator.plan import Plan, plan

Service = Callable[..., SuperInferService]


def budget(wanted: Plan) -> int:
    (found,) = (obj for obj in wanted.apply if obj["kind"] == "PodDisruptionBudget")
    return int(found["spec"]["maxUnavailable"])


def test_a_lone_pod_is_moved_off_a_cordoned_node_once(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    (old,) = played.live
    assert budget(played.plan(service())) == 0

    played.cordoned = {"n0"}
    served = []
    for _ in range(12):
        played.settle(service(), rounds=1)
        served.append(sum(map(is_ready, played.live.values())))
    (moved,) = played.live.values()
    applies = played.applies
    played.cordoned = set()
    played.settle(service())

    assert min(served) == 1
    assert moved["spec"]["nodeName"] == "n1"
    assert moved["metadata"]["annotations"][MOVED_OFF_ANNOTATION] == old
    assert played.applies == applies  # and it is not moved back


def test_a_lone_pod_is_moved_again_from_the_next_node(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    for node, left in (("n0", "n1"), ("n1", "n2")):
        played.cordoned |= {node}
        played.settle(service())
        (pod,) = played.live.values()
        assert pod["spec"]["nodeName"] == left


def test_where_there_is_no_other_node_a_lone_pod_serves_on(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    (old,) = played.live

    played.cordoned = set(played.nodes)
    played.settle(service())

    assert is_ready(played.live[old])
    assert len(played.live) == 2  # its successor waits for a node
    played.cordoned = {"n0"}
    played.settle(service())
    (moved,) = played.live.values()
    assert moved["spec"]["nodeName"] == "n1"


def test_a_pod_that_ended_on_a_cordoned_node_is_not_moved(
    service: Service, played: PlayedCluster
) -> None:
    played.settle(service())
    (dead,) = played.live
    played.cordoned = {"n0"}
    played.pods[dead]["status"] = {"phase": "Failed"}
    played.control()
    played.run_pods()
    played.run_pods()
    before = set(played.live)

    played.settle(service())

    assert set(played.live) == before
    assert dead in played.pods


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": 2},
        {
            "placement": {"shareGroup": "g"},
            "kvCache": {"hbm": {"max": "2Gi"}},
        },
    ],
)
def test_pods_that_may_be_evicted_are_left_to_evictions(
    service: Service, played: PlayedCluster, spec: dict[str, Any]
) -> None:
    played.settle(service(**spec))
    before = set(played.live)

    played.cordoned = {"n0"}
    played.settle(service(**spec))

    assert set(played.live) == before
    assert budget(played.plan(service(**spec))) == 1


def test_the_lone_pod_of_an_external_scaler_is_kept_and_moved_too(
    service: Service, played: PlayedCluster
) -> None:
    external = service(autoscaling={"scaler": "External"})
    assert budget(plan(external, Children(), played.platform, played.tokens, None)) == 1
    played.settle(external)
    assert budget(played.plan(external)) == 0

    played.cordoned = {"n0"}
    played.settle(external)

    (pod,) = played.live.values()
    assert pod["spec"]["nodeName"] == "n1"
