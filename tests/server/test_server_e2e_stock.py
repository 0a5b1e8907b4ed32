"""A real server with vLLM's own scheduler: OpenAI's API, our layers, and a drain at the end."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serve_process import Serving, serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    config: dict[str, Any] = {"policy": "stock", "server": {"admin_token": "secret"}}
    with serving(tmp_path_factory.mktemp("stock"), config) as served:
        yield served


def test_a_completion_streams(server: Serving) -> None:
    request = {
        "prompt": "hello",
        "max_tokens": 8,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with server.http.stream("POST", "/v1/completions", json=request) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    # Not one event a token: vLLM holds the bytes of an unfinished character back.
    assert len(lines) > 3
    usage = json.loads(lines[-2].removeprefix("data: "))["usage"]
    assert usage["completion_tokens"] == 8


def test_a_chat_is_answered_under_its_class(server: Serving) -> None:
    request = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    headers = {"x-superinfer-slo-class": "default"}
    response = server.http.post("/v1/chat/completions", json=request, headers=headers)
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["role"] == "assistant"


def test_an_unknown_class_is_refused(server: Serving) -> None:
    response = server.http.post(
        "/v1/chat/completions", json={}, headers={"x-superinfer-slo-class": "gold"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-superinfer-slo-class"


def test_vllms_own_routes_and_errors_stay(server: Serving) -> None:
    assert server.http.get("/health").status_code == 200
    assert server.http.get("/v1/models").json()["data"][0]["id"] == "superinfer-tiny"
    assert "vllm:num_requests_running" in server.http.get("/metrics").text
    malformed = server.http.post(
        "/v1/completions", content=b"{", headers={"content-type": "application/json"}
    )
    assert malformed.status_code == 400


def test_probes(server: Serving) -> None:
    assert server.http.get("/live").status_code == 200
    assert server.http.get("/ready").status_code == 200


def test_stock_has_no_budgets(server: Serving) -> None:
    response = server.http.get("/v1/kv/budget", headers={"authorization": "Bearer secret"})
    assert response.status_code == 409


def test_the_start_is_told_in_one_line(server: Serving) -> None:
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("superinfer:")]
    assert len(lines) == 1
    assert "default (TTFT 5 s, TBT 100 ms)" in lines[0]


def test_sigterm_drains_and_leaves_nothing(server: Serving) -> None:
    request = {"prompt": "hello", "max_tokens": 900, "ignore_eos": True, "stream": True}
    with server.http.stream("POST", "/v1/completions", json=request) as response:
        events = response.iter_lines()
        next(events)
        server.terminate()
        while server.http.get("/ready").is_success:
            pass  # the signal is on its way
        not_ready = server.http.get("/ready")
        assert (not_ready.status_code, not_ready.json()["reason"]) == (503, "draining")
        refused = server.complete()
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        lines = [line for line in events if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert server.wait_gone() == 0
