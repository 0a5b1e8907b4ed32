"""A real server with RotaSched: live budgets, SLO telemetry, and the same drain."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from serve_process import ENGINE_ARGS, Serving, serving
from superinfer_contract import metrics
from superinfer_contract.kv_budget import PATH, KvBudget

pytestmark = pytest.mark.e2e

MIB = 2**20
TOKEN = {"authorization": "Bearer secret"}


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        """The newest values of the counter ``name`` by the values of its sorted attributes."""
        values = {}
        for body in self.bodies:
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
                    for point in metric.sum.data_points if metric.name == name else ():
                        pairs = sorted((a.key, a.value.string_value) for a in point.attributes)
                        key = tuple(value for _, value in pairs)
                        values[key] = point.as_int or point.as_double
        return values


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.headers["authorization"] == "Bearer otlp"
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Serving]:
    config: dict[str, Any] = {
        "slo_classes": [
            {"name": "chat", "ttft_s": 60, "tbt_s": 10, "default": True},
            {"name": "batch", "ttft_s": 1e-6, "tbt_s": 10},
        ],
        # vLLM guards everything under /v1 with its key; the budget has a token of its own.
        "engine_args": {**ENGINE_ARGS, "api-key": ["key"]},
        "kv_cache": {
            "hbm": {"min": "4Mi", "max": "16Mi"},
            "dram": {"max": "32Mi", "initial": "8Mi"},
            "slab": "4Mi",
        },
        "server": {"admin_token": "secret"},
        "telemetry": {
            "otlp_endpoint": f"http://127.0.0.1:{collector.server_port}",
            "otlp_headers": {"authorization": "Bearer otlp"},
            "interval_s": 0.2,
        },
    }
    with serving(tmp_path_factory.mktemp("rotasched"), config) as served:
        served.http.headers["authorization"] = "Bearer key"
        yield served


def budget(server: Serving) -> KvBudget:
    return KvBudget.model_validate(server.http.get(PATH, headers=TOKEN).json())


def test_classes_are_accounted_and_pushed(server: Serving, collector: Collector) -> None:
    for name in ("chat", "chat", "batch"):
        response = server.http.post(
            "/v1/completions",
            json={"prompt": "hello", "max_tokens": 4},
            headers={"x-superinfer-slo-class": name},
        )
        assert response.status_code == 200
    expected = {("chat", "ttft", "good"): 2, ("batch", "ttft", "bad"): 1}
    judged: dict[tuple[str, ...], float] = {}
    for _ in range(100):
        judged = collector.counted(metrics.SLO_REQUESTS.name)
        if all(judged.get(key) == count for key, count in expected.items()):
            break
        time.sleep(0.1)
    assert {key: judged.get(key) for key in expected} == expected


def test_a_per_request_target_overrides_the_class(server: Serving, collector: Collector) -> None:
    response = server.http.post(
        "/v1/completions",
        json={"prompt": "hello", "max_tokens": 4},
        headers={"x-superinfer-slo-class": "chat", "x-llm-d-slo-ttft-ms": "0.001"},
    )
    assert response.status_code == 200
    for _ in range(100):
        if ("chat", "ttft", "bad") in collector.counted(metrics.SLO_REQUESTS.name):
            return
        time.sleep(0.1)
    raise AssertionError(collector.counted(metrics.SLO_REQUESTS.name))


def test_budgets_move_while_the_engine_idles(server: Serving) -> None:
    assert budget(server).dram.allocated_bytes == 8 * MIB
    for wish_bytes in (16 * MIB, 4 * MIB):
        patched = server.http.patch(PATH, headers=TOKEN, json={"dram_bytes": wish_bytes})
        assert patched.status_code in (200, 202)
        assert patched.json()["dram"]["desired_bytes"] == wish_bytes
        for _ in range(100):
            if not budget(server).pending:
                break
            time.sleep(0.1)
        assert budget(server).dram.allocated_bytes == wish_bytes


def test_a_budget_out_of_bounds_is_refused(server: Serving) -> None:
    refused = server.http.patch(PATH, headers=TOKEN, json={"dram_bytes": "1Gi"})
    assert refused.status_code == 400
    assert str(32 * MIB) in refused.json()["error"]["message"]


def test_vllms_key_does_not_open_the_budget(server: Serving) -> None:
    assert server.http.patch(PATH, json={"dram_bytes": 4 * MIB}).status_code == 401


def test_no_secret_is_logged(server: Serving) -> None:
    assert "Bearer otlp" not in server.log.read_text()


def test_sigterm_drains_and_leaves_nothing(server: Serving) -> None:
    request = {"prompt": "hello", "max_tokens": 900, "ignore_eos": True, "stream": True}
    with server.http.stream("POST", "/v1/completions", json=request) as response:
        events = response.iter_lines()
        next(events)
        server.terminate()
        lines = [line for line in events if line]
    assert lines[-1] == "data: [DONE]"
    assert server.wait_gone() == 0
