"""The real server with keys, a certificate and small limits: what it answers, and what it survives.

Fuzzed is what its own OpenAPI document lists, and our routes. Of stock vLLM's routes one is left
out: `POST /scale_elastic_ep` starts and ends engine processes, so that a well-formed request is
meant to disturb the server. `KNOWN` lists requests that vLLM 0.26 answers with 500 where 400 would
be right; the server goes on, and none of them reaches code of ours.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from certificates import Authority
from http_fuzz import fuzz
from serve_process import ENGINE_ARGS, Serving, serving
from superinfer_contract.kv_budget import PATH, KvBudgetPatch
from superinfer_operator.runtime_client import Identity, RuntimeClient, RuntimeUntrusted
from superinfer_operator.trust import Authorities

pytestmark = pytest.mark.e2e

MIB = 2**20
MAX_BODY_BYTES = 65_536
EXAMPLES = 10
KNOWN = (
    # An item of the input without a role: KeyError in chat_utils.
    ("POST /v1/responses: 500", "'role'"),
    # An item of the input that stands for a tool's call: AttributeError in chat_utils.
    ("POST /v1/responses: 500", "object has no attribute 'get'"),
    # structured_outputs is a list: AttributeError in completion/protocol, by /render too.
    ("POST /v1/completions", "'list' object has no attribute 'get'"),
    # What the chat API refuses with 400 (no messages, too many tokens), by /count_tokens too.
    ("POST /v1/messages", '"type":"internal_error"'),
)
LEFT_OUT = ("POST /scale_elastic_ep",)
MODEL = "superinfer-tiny"
OWN_ROUTES: dict[str, Any] = {
    "/live": {"get": {"responses": {"200": {"description": "live"}}}},
    "/ready": {"get": {"responses": {"200": {"description": "ready"}}}},
    PATH: {
        "get": {"responses": {"200": {"description": "budgets"}}},
        "patch": {
            "requestBody": {
                "content": {"application/json": {"schema": KvBudgetPatch.model_json_schema()}}
            },
            "responses": {"200": {"description": "budgets"}},
        },
    },
}


def is_known(said: str) -> bool:
    return any(said.startswith(operation) and words in said for operation, words in KNOWN)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("secured")
    pair = authority.server("tls", ["chat.team.svc"], ["127.0.0.1"])
    (folder / "keys").write_text("key\n")
    config: dict[str, Any] = {
        "engine_args": {**ENGINE_ARGS, "max-model-len": 64},
        "kv_cache": {
            "hbm": {"min": "4Mi", "max": "16Mi"},
            "dram": {"max": "32Mi", "initial": "8Mi"},
            "slab": "4Mi",
        },
        "server": {
            "admin_token": "admin",
            "api_key_file": str(folder / "keys"),
            "tls": {"certificate": str(pair.public), "key": str(pair.key)},
            "max_body": MAX_BODY_BYTES,
        },
    }
    with serving(folder, config, ssl.create_default_context(cafile=authority.file)) as served:
        yield served


KEY = {"authorization": "Bearer key"}
ASK = {"prompt": "hello", "max_tokens": 2}


@pytest.mark.parametrize("path", ["/v1/completions", "/invocations", "/tokenize", "/v1/responses"])
def test_without_a_key_nothing_is_generated(server: Serving, path: str) -> None:
    refused = server.http.post(path, json=ASK)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/metrics"])
def test_probes_and_metrics_need_none(server: Serving, path: str) -> None:
    assert server.http.get(path).status_code == 200


def test_with_the_key_the_model_answers(server: Serving) -> None:
    answer = server.http.post("/v1/completions", json=ASK, headers=KEY)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 2


def test_a_body_beyond_the_limit_is_refused(server: Serving) -> None:
    large = server.http.post(
        "/v1/completions", json={**ASK, "prompt": "x" * MAX_BODY_BYTES}, headers=KEY
    )
    assert large.status_code == 413
    assert large.json()["error"]["code"] == "request_too_large"


def test_plain_http_is_not_spoken(server: Serving) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http") + "/live", trust_env=False)


async def test_the_operator_s_client_checks_it_and_sets_budgets(
    server: Serving, authority: Authority
) -> None:
    trusting = Identity(Authorities(authority.file).context(), "chat.team.svc")
    async with RuntimeClient(server.url, "admin", identity=trusting) as runtime:
        assert await runtime.is_ready()
        changed = await runtime.patch_budget(KvBudgetPatch(dram_bytes=16 * MIB))
        assert changed.dram.desired_bytes == 16 * MIB
    doubting = Identity(Authorities().context(), "chat.team.svc")
    async with RuntimeClient(server.url, "admin", identity=doubting) as runtime:
        with pytest.raises(RuntimeUntrusted, match="not trusted"):
            await runtime.get_budget()


def test_no_request_is_answered_with_a_server_error(server: Serving, authority: Authority) -> None:
    document = server.http.get("/openapi.json", headers=KEY).json()
    own = {"openapi": "3.1.0", "info": {"title": "own", "version": "1"}, "paths": OWN_ROUTES}
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority.file)
        session.headers["authorization"] = "Bearer key"
        of_vllm = fuzz(document, server.url, session, EXAMPLES, MODEL, LEFT_OUT)
        session.headers["authorization"] = "Bearer admin"
        ours = fuzz(own, server.url, session, EXAMPLES * 5)

    print(of_vllm.statuses, ours.statuses)
    assert [said for said in of_vllm.server_errors if not is_known(said)] == []
    assert ours.server_errors == []
    assert 200 in of_vllm.statuses
    assert of_vllm.num_cases + ours.num_cases > 10 * EXAMPLES
    assert server.http.post("/v1/completions", json=ASK, headers=KEY).status_code == 200


def test_the_log_holds_no_secret(server: Serving, tmp_path: Path) -> None:
    text = server.log.read_text()
    assert "superinfer: https://" in text
    assert "Bearer" not in text
    assert "'key'" not in text
