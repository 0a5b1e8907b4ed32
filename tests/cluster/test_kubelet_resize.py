"""In-place resize: a pod grows and shrinks without a restart, or is told why not."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from control_plane import ControlPlane
from kubelet.api import Object
from kubelet.cluster_objects import ClusterObjects, condition, container_status, pod
from kubelet.host import Settings
from kubelet.loop_thread import in_thread
from kubelet.node import Node
from kubelet.process_kubelet import ProcessKubelet
from kubelet.resize import ResizePolicy
from kubelet.worker_nodes import worker_nodes

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def kubelet(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessKubelet]:
    nodes = [Node.gh200("gh-0", memory="8Gi")]
    folder = tmp_path_factory.mktemp("kubelet")
    settings = Settings(first_backoff_s=1)
    with in_thread(worker_nodes(control_plane.kubeconfig(), nodes, folder, settings)) as kubelet:
        yield kubelet


@pytest.fixture
def objects(control_plane: ControlPlane, namespace: str) -> Iterator[ClusterObjects]:
    objects = ClusterObjects(control_plane, namespace)
    yield objects
    objects.kubectl("delete", "pods", "--all", "--grace-period=1")


PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
# Holds 96 MiB until SIGUSR1.
HOARD = """
import signal, time
kept = b"x" * (96 << 20)
def drop(*_):
    global kept
    kept = b""
signal.signal(signal.SIGUSR1, drop)
while True:
    time.sleep(1)
"""


def start(objects: ClusterObjects, name: str, memory: str, *command: str, **more: Any) -> None:
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}}
    objects.apply(pod(name, *(command or ("sleep", "1000")), resources=resources, **more))
    objects.until_ready(name)


def ask(objects: ClusterObjects, name: str, memory: str) -> None:
    resources = {"requests": {"memory": memory}, "limits": {"memory": memory}}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    objects.kubectl("patch", "pod", name, "--subresource=resize", f"--patch={json.dumps(patch)}")


def has(pod: Object, memory: str) -> bool:
    """Whether the pod's container has that limit, and nothing more is to come."""
    limits = container_status(pod).get("resources", {}).get("limits", {})
    settled = not condition(pod, PENDING) and not condition(pod, IN_PROGRESS)
    return settled and limits.get("memory") == memory


def test_a_pod_grows_without_a_restart(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    start(objects, "grows", "1Gi")
    pid = kubelet.pid_of(objects.namespace, "grows")

    ask(objects, "grows", "2Gi")
    told = objects.until("pod", "grows", lambda pod: has(pod, "2Gi"))

    assert container_status(told)["allocatedResources"]["memory"] == "2Gi"
    assert container_status(told)["restartCount"] == 0
    assert told["status"]["observedGeneration"] == told["metadata"]["generation"]
    assert kubelet.pid_of(objects.namespace, "grows") == pid


def test_who_asks_for_a_restart_gets_one(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    start(objects, "restarts", "1Gi", resizePolicy=policy)

    ask(objects, "restarts", "2Gi")

    objects.until(
        "pod",
        "restarts",
        lambda pod: has(pod, "2Gi") and container_status(pod)["restartCount"] == 1,
    )


def test_growth_waits_until_others_leave(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    start(objects, "grows", "2Gi")
    start(objects, "other", "5Gi")

    ask(objects, "grows", "4Gi")
    told = objects.until("pod", "grows", lambda pod: condition(pod, PENDING))
    assert condition(told, PENDING)["reason"] == "Deferred"
    assert "enough resource: memory" in condition(told, PENDING)["message"]
    assert container_status(told)["allocatedResources"]["memory"] == "2Gi"

    objects.kubectl("delete", "pod", "other")
    objects.until("pod", "grows", lambda pod: has(pod, "4Gi"))


def test_what_no_node_can_give_is_infeasible(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    start(objects, "dreams", "1Gi")

    ask(objects, "dreams", "9Gi")
    told = objects.until("pod", "dreams", lambda pod: condition(pod, PENDING))
    assert condition(told, PENDING)["reason"] == "Infeasible"

    ask(objects, "dreams", "1Gi")
    objects.until("pod", "dreams", lambda pod: has(pod, "1Gi"))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(ResizePolicy.DEFER, "Deferred"), (ResizePolicy.INFEASIBLE, "Infeasible")],
)
def test_a_node_answers_as_a_test_tells_it(
    objects: ClusterObjects, kubelet: ProcessKubelet, policy: ResizePolicy, reason: str
) -> None:
    start(objects, "asks", "1Gi")
    node = kubelet.nodes["gh-0"]
    node.resize_policy = policy
    try:
        ask(objects, "asks", "2Gi")
        told = objects.until("pod", "asks", lambda pod: condition(pod, PENDING))
    finally:
        node.resize_policy = ResizePolicy.GRANT

    assert condition(told, PENDING)["reason"] == reason
    objects.until("pod", "asks", lambda pod: has(pod, "2Gi"))


async def test_a_limit_does_not_fall_below_what_is_in_use(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    start(objects, "hoards", "256Mi", "python", "-c", HOARD)
    used = kubelet.pod(objects.namespace, "hoards").containers[0]
    objects.until("pod", "hoards", lambda _: used.used_bytes > 96 << 20)

    ask(objects, "hoards", "64Mi")
    told = objects.until("pod", "hoards", lambda pod: condition(pod, IN_PROGRESS).get("reason"))
    assert condition(told, IN_PROGRESS)["reason"] == "Error"
    assert "below current usage" in condition(told, IN_PROGRESS)["message"]
    assert container_status(told)["resources"]["limits"]["memory"] == "256Mi"

    await kubelet.kill(objects.namespace, "hoards", number=signal.SIGUSR1)
    shrunk = objects.until("pod", "hoards", lambda pod: has(pod, "64Mi"))

    assert container_status(shrunk)["restartCount"] == 0
