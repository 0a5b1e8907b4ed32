"""ClusterIPs of the process kube-proxy lead to ready pods, and a rolling update loses nothing."""

import threading
import time

import httpx
import pytest
from kubelet.cluster_objects import ClusterObjects, pod
from kubelet.process_kubelet import ProcessKubelet

pytestmark = pytest.mark.cluster


SERVER = """
import http.server, os, signal, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.1)
        body = os.environ["HOSTNAME"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""
LABELS = {"app": "web"}


class Clients:
    """Several ask without pause, a connection for each request, until they are told to stop."""

    def __init__(self, url: str) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(6)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=10) as http:
            while not self._stop.is_set():
                try:
                    answer = http.get(self._url, headers={"Connection": "close"})
                    self.answers.append(answer.raise_for_status().text)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))


def web(objects: ClusterObjects) -> str:
    """Run two servers on one port number behind a Service, and return its URL."""
    template = pod(
        "web",
        *("python", "-c", SERVER),
        labels=LABELS,
        ports=[{"name": "http", "containerPort": 8000}],
        readinessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        lifecycle={"preStop": {"sleep": {"seconds": 2}}},
    )
    template["spec"]["terminationGracePeriodSeconds"] = 20
    objects.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": LABELS},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": template["metadata"], "spec": template["spec"]},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    )
    objects.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    found = objects.get("service", "web")
    assert found is not None
    return f"http://{found['spec']['clusterIP']}/"


def ask_until(url: str, met: object) -> str:
    """Ask until the answer (or the error's class name) is in ``met``."""
    said = ""
    for _ in range(300):
        try:
            said = httpx.get(url, trust_env=False, timeout=5).text
        except httpx.HTTPError as error:
            said = type(error).__name__
        if said in met:  # type: ignore[operator]
            return said
        time.sleep(0.1)
    raise AssertionError(f"{url} says {said}")


def test_a_cluster_ip_balances_over_the_pods(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    url = web(objects)
    names = {each["metadata"]["name"] for each in objects.items("pods", "app=web")}
    for name in names:
        ask_until(url, {name})

    answers = [httpx.get(url, trust_env=False).text for _ in range(10)]

    assert sorted(map(answers.count, names)) == [5, 5]


def test_pods_reach_services_by_name(objects: ClusterObjects, kubelet: ProcessKubelet) -> None:
    ask = pod(
        "ask", "sh", "-c", f"curl -sS http://web/; curl -sS http://web.{objects.namespace}.svc/"
    )
    ask["spec"]["restartPolicy"] = "Never"
    ask_until(web(objects), {each["metadata"]["name"] for each in objects.items("pods", "app=web")})
    objects.apply(ask)

    objects.until("pod", "ask", lambda pod: pod["status"]["phase"] == "Succeeded")

    assert kubelet.logs(objects.namespace, "ask").count("web-") == 2


def test_without_a_ready_pod_clients_are_refused(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    url = web(objects)
    ask_until(url, {each["metadata"]["name"] for each in objects.items("pods", "app=web")})

    objects.kubectl("scale", "deployment/web", "--replicas=0")

    assert ask_until(url, {"ConnectError"})


def test_a_rolling_update_loses_no_request(
    objects: ClusterObjects, kubelet: ProcessKubelet
) -> None:
    url = web(objects)
    before = {each["metadata"]["name"] for each in objects.items("pods", "app=web")}
    ask_until(url, before)

    with Clients(url) as clients:
        objects.kubectl("rollout", "restart", "deployment/web")
        objects.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        for name in before:
            objects.until_gone("pod", name)

    after = {each["metadata"]["name"] for each in objects.items("pods", "app=web")}
    assert clients.failures == []
    assert set(clients.answers) == before | after
    assert not before & after
