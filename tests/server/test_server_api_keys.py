"""API keys: who may ask, what is open anyway, and keys that are rotated under way."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from mounted_file import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from superinfer_contract.runtime_config import ServerConfig
from superinfer_contract.validation import ConfigError
from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.api_keys import ApiKeys
from superinfer_runtime.server.budget_routes import BudgetRoutes
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.front_door import FrontDoor
from superinfer_runtime.server.probe_routes import probe_routes

Client = Callable[[ASGIApp], httpx.AsyncClient]
GUARDED = [
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("POST", "/invocations"),
    ("POST", "/tokenize"),
    ("POST", "/ping"),
    ("POST", "/metrics"),
    ("GET", "/metrics/"),
    ("GET", "//metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
]
OPEN = [("GET", "/health"), ("GET", "/ping"), ("GET", "/metrics"), ("OPTIONS", "/v1/completions")]


async def echo(request: Request) -> Response:
    return PlainTextResponse("asked")


def door(keys: ApiKeys) -> FrontDoor:
    methods = ["GET", "POST", "OPTIONS", "HEAD"]
    vllm = Starlette(routes=[Route("/{path:path}", echo, methods=methods)])
    budget = BudgetRoutes(AdminToken("admin"), None, "stock")
    routes = [*probe_routes(lambda: None), *budget.routes]
    return FrontDoor(vllm, routes, Drain(), api_keys=keys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "api-keys"
    path.write_text("first\n\n  second  \n")
    return path


@pytest.fixture
def http(file: Path, client: Client) -> httpx.AsyncClient:
    return client(door(ApiKeys(file)))


async def status(http: httpx.AsyncClient, authorization: str) -> int:
    headers = {"authorization": authorization}
    return (await http.get("/v1/models", headers=headers)).status_code


@pytest.mark.parametrize("authorization", ["Bearer first", "bearer second", "Bearer  first "])
async def test_each_key_of_the_file_is_taken(http: httpx.AsyncClient, authorization: str) -> None:
    assert await status(http, authorization) == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic first", "first", "Bearer firs", "Bearer first\nsecond"[:19],
     "Bearer FIRST", "Bearer \N{LATIN SMALL LETTER E WITH ACUTE}"],
)  # fmt: skip
async def test_all_else_is_refused_as_openai_does(file: Path, authorization: str) -> None:
    sent = await over_asgi(door(ApiKeys(file)), "POST", "/v1/completions", authorization)
    assert sent[0]["status"] == 401
    assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    error = httpx.Response(401, content=sent[1]["body"]).json()["error"]
    assert error["type"] == "authentication_error"
    assert error["code"] == "invalid_api_key"
    assert error["message"]


async def over_asgi(app: ASGIApp, method: str, path: str, authorization: str) -> list[Message]:
    """Ask as a client would that sends any bytes; a body must not be waited for."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("a refused request's body is not read")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", authorization.encode())] if authorization else []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "query_string": b"",
    }
    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_everything_that_is_not_named_needs_a_key(file: Path, method: str, path: str) -> None:
    sent = await over_asgi(door(ApiKeys(file)), method, path, "")
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(("method", "path"), OPEN)
async def test_probes_metrics_and_preflights_need_none(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    assert (await http.request(method, path)).status_code == 200


async def test_our_own_routes_keep_their_rules(http: httpx.AsyncClient) -> None:
    assert (await http.get("/live")).status_code == 200
    assert (await http.get("/ready")).status_code == 200
    with_key = await http.get("/v1/kv/budget", headers={"authorization": "Bearer first"})
    assert with_key.status_code == 401
    with_token = await http.get("/v1/kv/budget", headers={"authorization": "Bearer admin"})
    assert with_token.status_code == 409
    assert await status(http, "Bearer admin") == 401


async def test_a_websocket_without_a_key_is_closed(file: Path) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    await door(ApiKeys(file))(scope, receive, send)
    assert [(each["type"], each["code"]) for each in sent] == [("websocket.close", 1008)]


async def test_keys_are_rotated_without_a_restart(http: httpx.AsyncClient, file: Path) -> None:
    replace(file, b"second\nthird\n")
    assert await status(http, "Bearer third") == 200
    assert await status(http, "Bearer second") == 200
    assert await status(http, "Bearer first") == 401


async def test_a_file_that_is_gone_leaves_the_last_keys(
    http: httpx.AsyncClient, file: Path
) -> None:
    file.unlink()
    assert await status(http, "Bearer first") == 200


async def test_a_file_that_was_emptied_admits_nobody(http: httpx.AsyncClient, file: Path) -> None:
    replace(file, b"\n")
    assert await status(http, "Bearer first") == 401
    assert await status(http, "Bearer ") == 401


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b" \n", "has no key")])
def test_an_unusable_file_is_told_at_the_start(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        ApiKeys.of(ServerConfig(api_key_file=path))


def test_without_a_file_the_api_is_open() -> None:
    assert ApiKeys.of(ServerConfig()) is None
