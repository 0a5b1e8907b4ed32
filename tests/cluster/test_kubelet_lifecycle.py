"""How containers of the process kubelet live and end: probes, crashes, memory, termination."""

import os
import signal

import pytest
from kubelet.cluster_objects import ClusterObjects, condition, container_status, is_ready, pod
from kubelet.process_kubelet import ProcessKubelet

pytestmark = pytest.mark.cluster


SLEEP = ("sleep", "1000")
STUBBORN = ("sh", "-c", "trap 'echo terminated' TERM; while true; do sleep 0.1; done")
QUICK = {"periodSeconds": 1, "timeoutSeconds": 1}


def test_a_failing_liveness_probe_restarts_the_container(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/broken"]}, "failureThreshold": 1}
    script = "trap 'exit 7' TERM; sleep 1; touch /tmp/broken; while true; do sleep 0.1; done"
    objects.apply(pod("live", "sh", "-c", script, livenessProbe=probe | QUICK))

    told = objects.until("pod", "live", lambda pod: container_status(pod).get("restartCount"))

    assert container_status(told)["lastState"]["terminated"]["exitCode"] == 7


def test_a_startup_probe_holds_back_the_others(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    starting = {"exec": {"command": ["test", "-e", "/tmp/begun"]}, "failureThreshold": 50}
    failing = {"exec": {"command": ["false"]}, "failureThreshold": 1}
    script = "sleep 2; trap 'exit 9' TERM; touch /tmp/begun; while true; do sleep 0.1; done"
    objects.apply(
        pod(
            "slow",
            *("sh", "-c", script),
            startupProbe=starting | QUICK,
            livenessProbe=failing | QUICK,
            readinessProbe={"exec": {"command": ["test", "-e", "/tmp/begun"]}} | QUICK,
        )
    )

    waiting = objects.until("pod", "slow", lambda pod: "running" in _state(pod))
    restarted = objects.until("pod", "slow", lambda pod: container_status(pod)["restartCount"])

    assert container_status(waiting)["started"] is False
    assert not is_ready(waiting)
    # The liveness probe always fails; only who has begun answers SIGTERM with 9.
    assert container_status(restarted)["lastState"]["terminated"]["exitCode"] == 9


def test_readiness_comes_and_goes(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    probe = {"tcpSocket": {"port": "http"}, "failureThreshold": 1} | QUICK
    objects.apply(
        pod(
            "ready",
            *("python", "-c", SWITCHING),
            ports=[{"name": "http", "containerPort": 8000}],
            readinessProbe=probe,
        )
    )

    objects.until_ready("ready")
    os.kill(kubelet.pid_of(objects.namespace, "ready"), signal.SIGUSR1)
    told = objects.until("pod", "ready", lambda pod: not is_ready(pod))

    assert condition(told, "Ready")["reason"] == "ContainersNotReady"
    assert container_status(told)["restartCount"] == 0


SWITCHING = """
import signal, socket, time
server = socket.create_server(("0.0.0.0", 8000))
signal.signal(signal.SIGUSR1, lambda *_: server.close())
while True:
    time.sleep(1)
"""


def test_a_container_that_crashes_again_and_again_backs_off(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    objects.apply(pod("crash", "sh", "-c", "echo went wrong; exit 3"))

    told = objects.until(
        "pod",
        "crash",
        lambda pod: _state(pod).get("waiting", {}).get("reason") == "CrashLoopBackOff",
    )

    ended = container_status(told)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert told["status"]["phase"] == "Running"
    objects.until("pod", "crash", lambda pod: container_status(pod)["restartCount"] >= 3)


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("echo said > /dev/termination-log; exit 1", "File", "said\n"),
        ("echo shown; exit 1", "File", None),
        ("echo shown; exit 1", "FallbackToLogsOnError", "shown\n"),
        ("echo shown; exit 0", "FallbackToLogsOnError", None),
    ],
)
def test_last_words_stand_in_the_status(
    objects: ClusterObjects, kubelet: ProcessKubelet, script: str, policy: str, message: str | None
) -> None:
    item = pod("last", "sh", "-c", script, terminationMessagePolicy=policy)
    item["spec"]["restartPolicy"] = "Never"
    objects.apply(item)

    told = objects.until("pod", "last", lambda pod: "terminated" in _state(pod))

    assert _state(told)["terminated"].get("message") == message


def test_who_uses_more_memory_than_the_limit_is_killed(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    program = "import time; hoard = b'x' * (96 << 20); time.sleep(1000)"
    limits = {"limits": {"memory": "64Mi"}}
    objects.apply(pod("greedy", "python", "-c", program, resources=limits))

    told = objects.until("pod", "greedy", lambda pod: container_status(pod).get("lastState"))

    ended = container_status(told)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_a_container_sees_its_own_memory_limit(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    item = pod(
        "limit",
        *("cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        resources={"limits": {"memory": "64Mi"}},
    )
    item["spec"]["restartPolicy"] = "Never"
    objects.apply(item)

    objects.until("pod", "limit", lambda pod: pod["status"]["phase"] == "Succeeded")

    assert kubelet.logs(objects.namespace, "limit") == f"{64 << 20}\n" * 2


def test_termination_is_asked_for_before_it_is_forced(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /proc/1/fd/1"]}}}
    objects.apply(pod("stubborn", *STUBBORN, lifecycle=hook))
    objects.until_ready("stubborn")
    pid = kubelet.pid_of(objects.namespace, "stubborn")

    objects.kubectl("delete", "pod", "stubborn", "--wait=false")
    ending = objects.get("pod", "stubborn")
    objects.until_gone("pod", "stubborn")

    assert ending is not None
    assert ending["metadata"]["deletionTimestamp"]
    assert is_ready(ending)
    assert kubelet.logs(objects.namespace, "stubborn") == "hook\nterminated\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_pod_deleted_by_force_is_ended_too(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    objects.apply(pod("gone", *SLEEP))
    objects.until_ready("gone")
    pid = kubelet.pid_of(objects.namespace, "gone")

    objects.kubectl("delete", "pod", "gone", "--grace-period=0", "--force")

    objects.until("namespace", objects.namespace, lambda _: not os.path.exists(f"/proc/{pid}"))


async def test_a_killed_container_comes_back(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    objects.apply(pod("victim", *SLEEP))
    objects.until_ready("victim")
    pid = kubelet.pid_of(objects.namespace, "victim")

    await kubelet.kill(objects.namespace, "victim")

    told = objects.until(
        "pod",
        "victim",
        lambda pod: container_status(pod)["restartCount"] and "running" in _state(pod),
    )
    ended = container_status(told)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["containerID"]) == (137, f"process://{pid}")
    assert container_status(told)["containerID"] != ended["containerID"]


def _state(pod: dict[str, object]) -> dict[str, dict[str, object]]:
    state: dict[str, dict[str, object]] = container_status(pod).get("state", {})
    return state
