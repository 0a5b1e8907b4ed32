"""The testbed's control plane is a real one, and its faults are real faults."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import control_plane as program
import httpx
import psutil
import pytest
from control_plane import ControlPlane
from control_plane_binaries import BUILD
from daemon_process import DaemonFailed

pytestmark = pytest.mark.cluster

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NOTES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "notes.testbed.example"},
    "spec": {
        "group": "testbed.example",
        "scope": "Namespaced",
        "names": {"plural": "notes", "singular": "note", "kind": "Note"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}
NOTE = {"apiVersion": "testbed.example/v1", "kind": "Note"}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "involvedObject": {"namespace": "default"},
    "reason": "Test",
}
WATCHED = (
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/events",  # which the API server does not cache
    "/apis/testbed.example/v1/namespaces/default/notes",
)


def test_the_server_tells_the_version_of_its_binary(control_plane: ControlPlane) -> None:
    server = control_plane.tools / "kube-apiserver"
    told = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == f"Kubernetes {control_plane.version}"


def test_built_binaries_have_the_version_that_the_module_names(
    control_plane: ControlPlane,
) -> None:
    if control_plane.tools.parent.name != "controlplane":
        pytest.skip("the binaries were not built here")
    modules = (BUILD.parent / "kubernetes" / "go.mod").read_text()

    assert f"k8s.io/kubernetes {control_plane.version} " in modules


def test_pods_can_be_resized_in_place(control_plane: ControlPlane) -> None:
    resources = json.loads(control_plane.kubectl("get", "--raw", "/api/v1"))["resources"]

    assert "pods/resize" in [each["name"] for each in resources]


async def test_a_namespace_gets_its_service_account(
    control_plane: ControlPlane, namespace: str
) -> None:
    await until(lambda: items(control_plane, namespace, "serviceaccounts"))

    [account] = items(control_plane, namespace, "serviceaccounts")
    assert account["metadata"]["name"] == "default"


async def test_a_deployment_gets_pods_that_end_with_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    def get(kind: str) -> list[dict[str, Any]]:
        return items(control_plane, namespace, kind)

    def unschedulable() -> bool:
        conditions = [c for pod in get("pods") for c in pod["status"].get("conditions", ())]
        return [c["reason"] for c in conditions if c["type"] == "PodScheduled"] == [
            "Unschedulable"
        ] * 2

    control_plane.kubectl("-n", namespace, "create", "deployment", "web", "--image=none",
                          "--replicas=2")  # fmt: skip
    await until(unschedulable)  # by the scheduler: there is no node
    assert [pod["status"]["phase"] for pod in get("pods")] == ["Pending"] * 2
    [replica_set] = get("replicasets")
    assert replica_set["metadata"]["ownerReferences"][0]["name"] == "web"

    control_plane.kubectl("-n", namespace, "delete", "deployment", "web")
    await until(lambda: not get("pods") and not get("replicasets"))


async def test_a_deleted_namespace_goes(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "short-lived")
    control_plane.kubectl("-n", "short-lived", "create", "configmap", "a")
    control_plane.kubectl("delete", "namespace", "short-lived", "--wait", "--timeout=60s")

    ran = control_plane.run_kubectl("get", "namespace", "short-lived")
    assert "NotFound" in ran.stderr


@pytest.mark.parametrize("kind", ["user", "group", "ServiceAccount"])
def test_whoever_is_not_an_administrator_is_held_to_their_rights(
    control_plane: ControlPlane, namespace: str, kind: str
) -> None:
    if kind == "ServiceAccount":
        control_plane.kubectl("-n", namespace, "create", "serviceaccount", "someone")
        kubeconfig = control_plane.kubeconfig_for_service_account(namespace, "someone")
        subject = f"--serviceaccount={namespace}:someone"
    else:
        kubeconfig = control_plane.kubeconfig(f"{namespace}-user", [f"{namespace}-group"])
        subject = f"--{kind}={namespace}-{kind}"
    get = ("--kubeconfig", str(kubeconfig), "-n", namespace, "get", "pods")

    refused = control_plane.run_kubectl(*get)
    control_plane.kubectl("-n", namespace, "create", "rolebinding", "view", "--clusterrole=view",
                          subject)  # fmt: skip
    allowed = control_plane.run_kubectl("--request-timeout=10s", *get)

    assert "forbidden" in refused.stderr
    assert allowed.returncode == 0


async def test_objects_outlive_etcd_and_the_api_server(own_control_plane: ControlPlane) -> None:
    cluster = own_control_plane
    get = ("get", "configmap", "kept", "-o", "jsonpath={.data.a}", "--request-timeout=2s")
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    before = cluster.pids()

    await cluster.restart_etcd()
    assert cluster.kubectl(*get) == "b"
    assert cluster.pids()["etcd"] != before["etcd"]

    for sign in (signal.SIGTERM, signal.SIGKILL):
        await cluster.stop_api_server(sign)
        assert "refused" in cluster.run_kubectl(*get).stderr
        await cluster.start_api_server()
        assert cluster.kubectl(*get) == "b"

    cluster.kubectl("create", "deployment", "web", "--image=none")
    await until(lambda: items(cluster, "default", "pods"))  # the controllers came back too


async def test_resumed_watches_are_gone_once_expired(own_control_plane: ControlPlane) -> None:
    cluster = own_control_plane
    cluster.kubectl("apply", "--filename=-", input=json.dumps(NOTES))
    cluster.kubectl("wait", "--for=condition=Established", "crd/notes.testbed.example")
    listed = {path: json.loads(cluster.kubectl("get", "--raw", path)) for path in WATCHED}
    before = {path: each["metadata"]["resourceVersion"] for path, each in listed.items()}
    cluster.kubectl("create", "configmap", "a")
    cluster.kubectl("create", "-f-", input=json.dumps({**NOTE, "metadata": {"name": "a"}}))
    cluster.kubectl("create", "-f-", input=json.dumps({**EVENT, "metadata": {"name": "a"}}))

    for path in WATCHED:
        assert watch(cluster, path, before[path]) == {"ADDED": None}
    await cluster.expire_watches()
    for path in WATCHED:
        assert watch(cluster, path, before[path]) == {"ERROR": 410}


async def test_it_is_reached_at_all_its_addresses_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    async with ControlPlane.start(
        tmp_path, "0.0.0.0", addresses=["127.0.0.2"], service_range="10.97.0.0/24"
    ) as cluster:
        trusted = ssl.create_default_context(cafile=cluster.ca_file)
        urls = [cluster.url, f"https://127.0.0.2:{cluster.port}"]
        for url in urls:
            answer = httpx.get(f"{url}/readyz", verify=trusted, trust_env=False)
            assert answer.text == "ok"
        service = ("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        assert cluster.kubectl(*service) == "10.97.0.1"
        pids = cluster.pids()

    assert tuple(pids) == PARTS
    assert [name for name, pid in pids.items() if psutil.pid_exists(pid)] == []
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/readyz", verify=trusted, trust_env=False)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_the_program_takes_all_parts_with_it(tmp_path: Path, sign: signal.Signals) -> None:
    shown = subprocess.Popen(
        [sys.executable, str(program.__file__)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shown.stdout is not None
        kubeconfig = [shown.stdout.readline() for _ in range(3)][1].strip()
        parts = psutil.Process(shown.pid).children()
        shown.send_signal(sign)
        shown.wait(30)
    finally:
        shown.kill()
        shown.communicate()

    gone, alive = psutil.wait_procs(parts, timeout=30)
    assert (len(gone), alive) == (len(PARTS), [])
    assert shown.returncode == (0 if sign == signal.SIGINT else -signal.SIGKILL)
    assert kubeconfig.startswith(f"export KUBECONFIG={tmp_path}/")
    if sign == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["etcd", "kube-apiserver", "kube-scheduler"])
async def test_a_part_that_ends_says_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane, part: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in control_plane.tools.iterdir():
        (tools / tool.name).symlink_to(tool)
    (tools / part).unlink()
    (tools / part).write_text("#!/bin/sh\necho out of luck\nexit 3\n")
    (tools / part).chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tools))

    with pytest.raises(DaemonFailed, match=rf"{part} ended with status 3:\nout of luck"):
        async with ControlPlane.start(tmp_path / "data"):
            pass


def test_a_folder_without_all_binaries_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane
) -> None:
    shutil.copy(control_plane.tools / "kubectl", tmp_path)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    built = subprocess.run([BUILD], capture_output=True, text=True, check=True)

    assert built.stdout.strip() != str(tmp_path)
    assert "KUBEBUILDER_ASSETS is not used: no etcd, kube-apiserver" in built.stderr


def items(cluster: ControlPlane, namespace: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        cluster.kubectl("-n", namespace, "get", kind, "-o", "json")
    )["items"]
    return found


def watch(cluster: ControlPlane, path: str, version: str) -> dict[str, int | None]:
    """Resume a watch for two seconds: the types of its events, and the code of an error."""
    told = cluster.kubectl(
        "get", "--raw", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=2"
    )
    events = [json.loads(line) for line in told.splitlines()]
    return {event["type"]: event["object"].get("code") for event in events}


async def until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until ``holds`` returns something true."""
    async with asyncio.timeout(timeout_s):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.2)
