"""Pods of the real API server run as processes: volumes, variables, API access, root and user."""

import json
import re
from pathlib import Path

import pytest
from control_plane import ControlPlane
from kubelet.cluster_objects import ClusterObjects, condition, container_status, pod
from kubelet.host import Settings
from kubelet.loop_thread import in_thread
from kubelet.node import Node
from kubelet.process_kubelet import ProcessKubelet
from kubelet.worker_nodes import worker_nodes

pytestmark = pytest.mark.cluster


SLEEP = ("sleep", "1000")


def shell(*lines: str) -> tuple[str, ...]:
    return ("sh", "-c", "\n".join(lines))


def until_logged(objects: ClusterObjects, kubelet: ProcessKubelet, name: str, pattern: str) -> str:
    """Wait until the pod has written a line that matches, and return all it wrote."""
    objects.until(
        "pod", name, lambda _: re.search(pattern, kubelet.logs(objects.namespace, name), re.M)
    )
    return kubelet.logs(objects.namespace, name)


def run(objects: ClusterObjects, kubelet: ProcessKubelet, item: dict[str, object]) -> str:
    """Run a pod to its end and return what it wrote."""
    item["spec"]["restartPolicy"] = "Never"  # type: ignore[index]
    objects.apply(item)
    name = item["metadata"]["name"]  # type: ignore[index]
    objects.until("pod", name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))
    return kubelet.logs(objects.namespace, name)


def test_a_deployment_becomes_available(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    template = pod("web", *SLEEP, labels={"app": "web"})
    objects.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": template["metadata"], "spec": template["spec"]},
            },
        }
    )

    objects.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=60s")

    pods = objects.items("pods", "app=web")
    assert len({each["status"]["podIP"] for each in pods}) == 3
    assert all(condition(each, "Ready")["status"] == "True" for each in pods)
    assert all(kubelet.pid_of(objects.namespace, each["metadata"]["name"]) for each in pods)


def test_a_pod_waits_for_its_config_map_and_follows_it(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    script = shell("while true; do echo mode=$(cat /etc/app/mode); sleep 0.1; done")
    item = pod("reader", *script, volumeMounts=[{"name": "app", "mountPath": "/etc/app"}])
    item["spec"]["volumes"] = [{"name": "app", "configMap": {"name": "app"}}]
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}}
    objects.apply(item)
    objects.until("pod", "reader", lambda pod: condition(pod, "PodReadyToStartContainers"))
    assert "running" not in container_status(objects.get("pod", "reader") or {})["state"]

    objects.apply({**config, "data": {"mode": "slow"}})
    until_logged(objects, kubelet, "reader", "^mode=slow$")
    objects.apply({**config, "data": {"mode": "fast"}})
    told = until_logged(objects, kubelet, "reader", "^mode=fast$")

    # Never half a file: every line is one of the two versions.
    assert set(told.split()) == {"mode=slow", "mode=fast"}


def test_volumes_and_variables_are_where_the_manifest_says(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    objects.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "cm"},
            "data": {"one": "1", "two": "2"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "key"},
            "stringData": {"password": "hush"},
        },
    )
    source = {"serviceAccountToken": {"path": "token", "audience": "vault"}}
    item = pod(
        "all",
        *shell(
            "cat /config/two /config/only/deep; echo",
            "stat -Lc '%a' /secret/password; cat /secret/password; echo",
            "cut -d. -f2 /token/token | tr '_-' '/+' | base64 -d 2>/dev/null; echo",
            "echo shared > /scratch/file; cat /again/file",
            "stat -fc '%T' /dev/shm; pwd; echo $WHO $MEMORY $PASSWORD",
            "touch /config/new || echo read-only",
            'echo "$0" "$1"',
        ),
        "$(WHO)",
        "$$(WHO)",
        workingDir="/usr",
        env=[
            {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            {
                "name": "PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "key", "key": "password"}},
            },
        ],
        resources={"limits": {"memory": "64Mi"}},
        volumeMounts=[
            {"name": "config", "mountPath": "/config"},
            {"name": "config", "mountPath": "/config/only/deep", "subPath": "one"},
            {"name": "secret", "mountPath": "/secret"},
            {"name": "token", "mountPath": "/token"},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "scratch", "mountPath": "/again", "readOnly": True},
            {"name": "memory", "mountPath": "/dev/shm"},
        ],
    )
    item["spec"]["volumes"] = [
        {
            "name": "config",
            "projected": {
                "sources": [
                    {"configMap": {"name": "cm"}},
                    {
                        "downwardAPI": {
                            "items": [
                                {
                                    "path": "only/deep",
                                    "fieldRef": {"fieldPath": "metadata.namespace"},
                                }
                            ]
                        }
                    },
                ]
            },
        },
        {"name": "secret", "secret": {"secretName": "key", "defaultMode": 0o400}},
        {"name": "token", "projected": {"sources": [source]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    ]

    lines = run(objects, kubelet, item).splitlines()

    token = json.loads(lines[3][: lines[3].rindex("}") + 1])
    assert token["aud"] == ["vault"]
    assert token["kubernetes.io"]["pod"]["name"] == "all"
    del lines[3]
    assert lines == [
        "21",
        "400",
        "hush",
        "shared",
        "tmpfs",
        "/usr",
        f"all {64 << 20} hush",
        "touch: cannot touch '/config/new': Read-only file system",
        "read-only",
        "all $(WHO)",
    ]


def test_a_pod_reaches_the_api_server_as_its_service_account(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    program = """
import httpx, os, ssl
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
for url in (server, "https://kubernetes.default.svc"):
    answer = httpx.post(
        url + "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        headers={"Authorization": "Bearer " + open(folder + "token").read()},
        verify=ssl.create_default_context(cafile=folder + "ca.crt"),
    )
    print(answer.json()["status"]["userInfo"]["username"])
"""
    told = run(objects, kubelet, pod("client", "python", "-c", program))

    assert told.split() == [f"system:serviceaccount:{objects.namespace}:default"] * 2


def test_what_a_container_writes_stays_its_own(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    script = shell("echo mine > /etc/superinfer-testbed && cat /etc/superinfer-testbed")
    sealed = pod("sealed", *script, securityContext={"readOnlyRootFilesystem": True})

    assert run(objects, kubelet, pod("writer", *script)) == "mine\n"
    assert "Read-only file system" in run(objects, kubelet, sealed)
    assert not Path("/etc/superinfer-testbed").exists()


def test_init_containers_run_in_turn_and_a_sidecar_beside(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    def step(name: str, script: str, **more: str) -> dict[str, object]:
        mounts = [{"name": "work", "mountPath": "/scratch"}]
        command = ["sh", "-c", script]
        return {"name": name, "image": "m", "command": command, "volumeMounts": mounts, **more}

    item = pod("steps")
    item["spec"] |= {
        "restartPolicy": "Never",
        "volumes": [{"name": "work", "emptyDir": {}}],
        "initContainers": [
            step("first", "echo first >> /scratch/log"),
            step("beside", "while true; do sleep 0.1; done", restartPolicy="Always"),
            step("second", "echo second >> /scratch/log"),
        ],
        "containers": [step("main", "cat /scratch/log")],
    }
    objects.apply(item)

    done = objects.until("pod", "steps", lambda pod: pod["status"]["phase"] == "Succeeded")

    assert kubelet.logs(objects.namespace, "steps", "main") == "first\nsecond\n"
    assert ["terminated" in each["state"] for each in done["status"]["initContainerStatuses"]] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"command": ["no-such-program"]}, "terminated", "no-such-program"),
        ({"command": []}, "waiting", "no entrypoint"),
        ({"envFrom": [{"configMapRef": {"name": "absent"}}]}, "waiting", '"absent" not found'),
    ],
)
def test_a_container_that_cannot_start_says_why(
    objects: ClusterObjects,
    kubelet: ProcessKubelet,
    change: dict[str, object],
    reason: str,
    words: str,
) -> None:
    item = pod("broken", *SLEEP)
    item["spec"]["restartPolicy"] = "Never"
    item["spec"]["containers"][0] |= change
    objects.apply(item)

    objects.until(
        "pod",
        "broken",
        lambda pod: (
            words in container_status(pod).get("state", {}).get(reason, {}).get("message", "")
        ),
    )


def test_a_container_runs_as_its_user_where_asked_for(
    control_plane: ControlPlane, objects: ClusterObjects, tmp_path: Path
) -> None:
    item = pod("user", *shell("id -u; id -g; id -G"), securityContext={"runAsUser": 10001})
    item["spec"] |= {
        "nodeName": "as-user",
        "restartPolicy": "Never",
        "securityContext": {"runAsGroup": 10002, "supplementalGroups": [10003]},
    }
    nodes, settings = [Node.gh200("as-user")], Settings(ignore_user=False)
    with in_thread(worker_nodes(control_plane.kubeconfig(), nodes, tmp_path, settings)) as kubelet:
        objects.apply(item)
        objects.until("pod", "user", lambda pod: pod["status"]["phase"] == "Succeeded")

        told = kubelet.logs(objects.namespace, "user").split()

    assert told == ["10001", "10002", "10002", "10003"]
