"""The process kubelet among faults: drained nodes, a restarting API server, its own sudden end."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from control_plane import ControlPlane
from kubelet import leftovers
from kubelet.cluster_objects import ClusterObjects, container_status, pod
from kubelet.loop_thread import in_thread
from kubelet.node import Node
from kubelet.worker_nodes import worker_nodes

pytestmark = pytest.mark.cluster

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done")
LABELS = {"app": "kept"}
SERVE = ("python", "-m", "http.server", "8000")


def deployment(replicas: int) -> dict[str, object]:
    template = pod("kept", *SLEEP, labels=LABELS)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kept"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    }


def traces(bridge: str, namespace: str, folder: Path) -> dict[str, list[str]]:
    """What one testbed made on this machine; others may work beside it."""

    def told(*arguments: str) -> list[str]:
        ran = subprocess.run(["ip", "-o", *arguments], capture_output=True, text=True, check=True)
        return ran.stdout.splitlines()

    metric = f"metric {1000 + int(bridge.removeprefix('sibr'))} "
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = {
        "links": [each for each in told("link", "show") if bridge in each],
        "routes": [
            each
            for each in told("route", "show", "table", "all")
            if bridge in each or metric in each
        ],
        "mounts": [each for each in mounts if str(folder) in each],
        "claims": [path.name for path in leftovers.CLAIMS.glob("*") if bridge in path.name],
        "namespaces": [namespace] if namespace in network_namespaces() else [],
    }
    return {kind: each for kind, each in found.items() if each}


def bridge_of(pod_ip: str) -> str:
    return f"sibr{pod_ip.split('.')[2]}"


def network_namespaces() -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add(os.readlink(process / "ns/net"))
        except OSError:
            continue
    return found


def test_a_drain_keeps_to_the_disruption_budget(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    objects = ClusterObjects(control_plane, namespace)
    nodes = [Node.gh200("gh-0"), Node.gh200("gh-1")]
    with in_thread(worker_nodes(control_plane.kubeconfig(), nodes, tmp_path)):
        control_plane.kubectl("cordon", "gh-1")
        budget = {"minAvailable": 2, "selector": {"matchLabels": LABELS}}
        objects.apply(
            deployment(2),
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "kept"},
                "spec": budget,
            },
        )
        objects.kubectl("rollout", "status", "deployment/kept", "--timeout=60s")
        before = objects.items("pods", "app=kept")
        assert {each["spec"]["nodeName"] for each in before} == {"gh-0"}
        control_plane.kubectl("uncordon", "gh-1")

        drain = ("drain", "gh-0", "--ignore-daemonsets", "--timeout=3s")
        refused = control_plane.run_kubectl(*drain)
        assert "disruption budget" in refused.stderr
        assert len(objects.items("pods", "app=kept")) == 2

        objects.kubectl("scale", "deployment/kept", "--replicas=3")
        objects.kubectl("rollout", "status", "deployment/kept", "--timeout=60s")
        control_plane.kubectl("drain", "gh-0", "--ignore-daemonsets", "--timeout=60s")
        objects.kubectl("rollout", "status", "deployment/kept", "--timeout=60s")

        after = objects.items("pods", "app=kept")
        assert {each["spec"]["nodeName"] for each in after} == {"gh-1"}


async def test_pods_outlive_the_api_server(own_control_plane: ControlPlane, tmp_path: Path) -> None:
    kubeconfig = own_control_plane.kubeconfig()
    objects = ClusterObjects(own_control_plane, "default")
    node = Node.gh200("gh-0")
    with in_thread(worker_nodes(kubeconfig, [node], tmp_path / "kubelet")) as kubelet:
        await asyncio.to_thread(objects.apply, pod("stays", *SERVE))
        told = await asyncio.to_thread(objects.until_ready, "stays")
        url = f"http://{told['status']['podIP']}:8000/"
        pid = kubelet.pid_of("default", "stays")

        await own_control_plane.stop_api_server()
        assert httpx.get(url, trust_env=False).is_success
        # What happens meanwhile is told afterwards.
        await kubelet.kill("default", "stays")
        await own_control_plane.start_api_server()

        told = await asyncio.to_thread(
            objects.until,
            "pod",
            "stays",
            lambda pod: container_status(pod)["restartCount"] == 1,
        )
        assert container_status(told)["lastState"]["terminated"]["exitCode"] == 137
        assert kubelet.pid_of("default", "stays") != pid
        await asyncio.to_thread(objects.apply, pod("later", *SLEEP))
        await asyncio.to_thread(objects.until_ready, "later")
        await asyncio.to_thread(objects.kubectl, "delete", "pod", "stays", "later")


def test_nothing_is_left_behind(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    objects = ClusterObjects(control_plane, namespace)
    nodes = [Node.gh200("gh-0")]
    with in_thread(worker_nodes(control_plane.kubeconfig(), nodes, tmp_path)) as kubelet:
        item = pod("here", *SERVE, volumeMounts=[{"name": "memory", "mountPath": "/memory"}])
        item["spec"]["volumes"] = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
        objects.apply(item)
        objects.until_ready("here")
        pid = kubelet.pid_of(namespace, "here")
        made = (kubelet.bridge, os.readlink(f"/proc/{pid}/ns/net"), tmp_path)
        assert traces(*made).keys() == {"links", "routes", "claims", "namespaces"}

    objects.until("namespace", namespace, lambda _: traces(*made) == {})
    assert not Path(f"/proc/{pid}").exists()
    assert not list((tmp_path / "pods").iterdir())
    assert not json.loads(control_plane.kubectl("get", "nodes", "--output=json"))["items"]


def test_a_kubelet_killed_without_warning_is_swept_by_the_next(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    objects = ClusterObjects(control_plane, namespace)
    testbed = Path(leftovers.__file__).parents[1]
    victim = subprocess.Popen(
        [sys.executable, "-m", "kubelet", str(control_plane.kubeconfig()), "gh-0"],
        env={**os.environ, "PYTHONPATH": str(testbed), "TMPDIR": str(tmp_path)},
    )
    try:
        objects.apply(pod("orphan", *SERVE))
        told = objects.until_ready("orphan")
        pid = int(container_status(told)["containerID"].removeprefix("process://"))
        bridge = bridge_of(told["status"]["podIP"])
        made = (bridge, os.readlink(f"/proc/{pid}/ns/net"), tmp_path)
    finally:
        victim.kill()
        victim.wait()
    assert "claims" in traces(*made)

    objects.until("namespace", namespace, lambda _: not Path(f"/proc/{pid}").exists())
    leftovers.sweep()

    # The kernel takes the namespace's link away in its own time.
    objects.until("namespace", namespace, lambda _: traces(*made) == {})
    control_plane.kubectl("delete", "node", "gh-0")
    objects.kubectl("delete", "pod", "orphan", "--grace-period=0", "--force")
