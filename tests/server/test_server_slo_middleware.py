"""The SLO class middleware in front of an application that shows what reached it."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope
from superinfer_contract.headers import LLMD_TPOT_MS, LLMD_TTFT_MS, SLO_CLASS
from superinfer_contract.slo import SloClass
from superinfer_runtime.server.slo_middleware import SloClassMiddleware, with_arguments
from superinfer_runtime.server.slo_request import SloHeaderError, slo_arguments

CHAT = "/v1/chat/completions"
CLASSES = (
    SloClass(name="chat", ttft_s=1, tbt_s=0.05),
    SloClass(name="batch", ttft_s=60, tbt_s=1, default=True),
)
Client = Callable[[ASGIApp], httpx.AsyncClient]


async def echo(request: Request) -> Response:
    body = await request.body()
    length = request.headers.get("content-length")
    return JSONResponse({"body": body.decode(errors="replace"), "length": length})


def app(*, inject: bool = True) -> Starlette:
    paths = ("/v1/completions", CHAT, "/v1/responses", "/v1/embeddings", "/sub/v1/completions")
    return Starlette(
        routes=[Route(path, echo, methods=["GET", "POST"]) for path in paths],
        middleware=[Middleware(SloClassMiddleware, classes=CLASSES, inject=inject)],
    )


def reached(response: httpx.Response) -> dict[str, Any]:
    """The JSON body that the application got; its length must be told truthfully."""
    assert response.status_code == 200, response.text
    seen = response.json()
    assert int(seen["length"]) == len(seen["body"].encode())
    body: dict[str, Any] = json.loads(seen["body"])
    return body


@pytest.mark.parametrize("path", ["/v1/completions", CHAT, "/v1/responses"])
async def test_the_named_class_reaches_the_scheduler(client: Client, path: str) -> None:
    response = await client(app()).post(path, json={"prompt": "ü"}, headers={SLO_CLASS: "chat"})
    assert reached(response) == {"prompt": "ü", "vllm_xargs": {"slo_class": "chat"}}


async def test_without_a_header_the_default_class_does(client: Client) -> None:
    response = await client(app()).post(CHAT, json={})
    assert reached(response)["vllm_xargs"] == {"slo_class": "batch"}


async def test_an_unknown_class_is_refused_with_the_known_ones(client: Client) -> None:
    response = await client(app()).post(CHAT, json={}, headers={SLO_CLASS: "gold"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == SLO_CLASS
    assert error["message"] == "unknown SLO class 'gold'; this service has: chat, batch"


async def test_llmd_headers_override_the_targets(client: Client) -> None:
    headers = {SLO_CLASS: "chat", LLMD_TTFT_MS: "250", LLMD_TPOT_MS: "12.5"}
    response = await client(app()).post(CHAT, json={}, headers=headers)
    assert reached(response)["vllm_xargs"] == {
        "slo_class": "chat",
        "slo_ttft_s": 0.25,
        "slo_tbt_s": 0.0125,
    }


@pytest.mark.parametrize("value", ["", "soon", "0", "-5", "nan", "inf"])
@pytest.mark.parametrize("header", [LLMD_TTFT_MS, LLMD_TPOT_MS])
async def test_a_malformed_target_is_refused(client: Client, header: str, value: str) -> None:
    response = await client(app()).post(CHAT, json={}, headers={header: value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == header


async def test_own_xargs_are_kept_and_the_header_wins(client: Client) -> None:
    body = {"vllm_xargs": {"slo_class": "batch", "top": 1}}
    response = await client(app()).post(CHAT, json=body, headers={SLO_CLASS: "chat"})
    assert reached(response)["vllm_xargs"] == {"slo_class": "chat", "top": 1}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1, 2]", b'"text"', b"\xff\xfe\xfd", b'{"vllm_xargs": 3}', b"[" * 5_000],
)
async def test_what_is_no_request_passes_unchanged(client: Client, body: bytes) -> None:
    response = await client(app()).post(CHAT, content=body)
    assert response.json()["body"] == body.decode(errors="replace")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/sub/v1/completions"])
async def test_other_routes_are_left_alone(client: Client, path: str) -> None:
    response = await client(app()).post(path, json={"a": 1}, headers={SLO_CLASS: "gold"})
    assert json.loads(response.json()["body"]) == {"a": 1}


async def test_with_stock_policy_headers_are_checked_and_bodies_untouched(client: Client) -> None:
    stock = client(app(inject=False))
    assert (await stock.post(CHAT, json={}, headers={SLO_CLASS: "gold"})).status_code == 400
    response = await stock.post(CHAT, content=b'{ "a":1}', headers={SLO_CLASS: "chat"})
    assert response.json()["body"] == '{ "a":1}'


async def test_a_body_in_pieces_is_put_together() -> None:
    pieces: list[Message] = [
        {"type": "http.request", "body": b'{"prompt"', "more_body": True},
        {"type": "http.request", "body": b':"a"}', "more_body": False},
        {"type": "http.disconnect"},
    ]
    seen: list[Message] = []

    async def inner(scope: Scope, receive: Any, send: Any) -> None:
        assert (b"transfer-encoding", b"chunked") not in scope["headers"]
        seen.extend([await receive(), await receive()])

    async def receive() -> Message:
        return pieces.pop(0)

    async def send(_: Message) -> None:
        raise AssertionError("nothing to send")

    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "headers": [(b"transfer-encoding", b"chunked")],
    }
    await SloClassMiddleware(inner, CLASSES, inject=True)(scope, receive, send)
    assert json.loads(seen[0]["body"])["prompt"] == "a"
    assert seen[1] == {"type": "http.disconnect"}


async def test_a_client_that_goes_away_reaches_nothing() -> None:
    async def inner(scope: Scope, receive: Any, send: Any) -> None:
        raise AssertionError("must not be called")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        raise AssertionError("nobody listens")

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    await SloClassMiddleware(inner, CLASSES, inject=True)(scope, receive, send)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda key: key != "vllm_xargs"), JSON))
def test_everything_else_in_the_body_survives(request: dict[str, Any]) -> None:
    body = with_arguments(json.dumps(request).encode(), {"slo_class": "chat"})
    assert json.loads(body) == {**request, "vllm_xargs": {"slo_class": "chat"}}


@given(st.binary())
def test_no_body_makes_it_fail(body: bytes) -> None:
    assert isinstance(with_arguments(body, {"slo_class": "chat"}), bytes)


@given(st.floats(min_value=1e-3, max_value=1e9))
def test_milliseconds_become_seconds(milliseconds: float) -> None:
    arguments = slo_arguments({LLMD_TTFT_MS: repr(milliseconds)}, CLASSES)
    assert arguments["slo_ttft_s"] == milliseconds / 1000


@given(st.text())
def test_a_header_value_is_known_or_refused(value: str) -> None:
    if value.strip() in ("chat", "batch"):
        assert slo_arguments({SLO_CLASS: value}, CLASSES)["slo_class"] == value.strip()
    else:
        with pytest.raises(SloHeaderError, match="chat, batch"):
            slo_arguments({SLO_CLASS: value}, CLASSES)
