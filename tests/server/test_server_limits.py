"""Bodies, heads and numbers beyond their limits, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from served_app import served_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from superinfer_runtime.server import body_limit
from superinfer_runtime.server.body_limit import BodyLimit
from superinfer_runtime.server.bounded_head import MAX_HEAD_BYTES, MAX_HEADERS
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.front_door import FrontDoor
from superinfer_runtime.server.probe_routes import probe_routes

MAX_BODY_BYTES = 200_000


class Vllm:
    """What stands behind the door: it reads bodies, and holds requests until it is told."""

    def __init__(self) -> None:
        self.num_read = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.app = Starlette(routes=[Route("/v1/completions", self.work, methods=["POST"])])

    async def work(self, request: Request) -> Response:
        body = await request.body()
        self.num_read += 1
        await self.hold.wait()
        return JSONResponse({"read": len(body)})


@pytest.fixture
async def served() -> AsyncIterator[tuple[Vllm, httpx.AsyncClient]]:
    vllm = Vllm()
    door = FrontDoor(
        vllm.app,
        probe_routes(lambda: None),
        Drain(),
        max_body_bytes=MAX_BODY_BYTES,
        max_requests=2,
    )
    async with (
        served_app(door) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        yield vllm, http
        vllm.hold.set()


Served = tuple[Vllm, httpx.AsyncClient]


async def pieces(num_bytes: int) -> AsyncIterator[bytes]:
    for start in range(0, num_bytes, 50_000):
        yield b"x" * min(50_000, num_bytes - start)


Body = Callable[[int], bytes | AsyncIterator[bytes]]


@pytest.mark.parametrize("body", [lambda size: b"x" * size, pieces], ids=["announced", "chunked"])
async def test_a_body_is_read_up_to_the_limit_and_not_beyond(served: Served, body: Body) -> None:
    vllm, http = served
    fits = await http.post("/v1/completions", content=body(MAX_BODY_BYTES))
    assert fits.json() == {"read": MAX_BODY_BYTES}

    refused = await http.post("/v1/completions", content=body(MAX_BODY_BYTES + 1))

    assert refused.status_code == 413
    error = refused.json()["error"]
    assert error["code"] == "request_too_large"
    assert str(MAX_BODY_BYTES) in error["message"]
    assert vllm.num_read == 1
    again = await http.post("/v1/completions", content=b"x")
    assert again.status_code == 200


async def test_an_announced_giant_is_refused_at_once(served: Served) -> None:
    _, http = served
    answer = await raw(
        http, b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_stops_coming_is_let_go() -> None:
    vllm = Vllm()
    async with (
        served_app(BodyLimit(vllm.app, MAX_BODY_BYTES, idle_s=0.2)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        answer = await raw(
            http, b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf"
        )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert vllm.num_read == 0


async def test_own_routes_have_a_limit_of_their_own() -> None:
    async def read(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    door = FrontDoor(Vllm().app, [Route("/own", read, methods=["PATCH"])], Drain())
    async with (
        served_app(door) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        assert (await http.patch("/own", content=b"x" * 65_536)).json() == 65_536
        assert (await http.patch("/own", content=b"x" * 65_537)).status_code == 413


async def test_requests_beyond_the_number_are_told_to_come_again(served: Served) -> None:
    vllm, http = served
    vllm.hold.clear()
    held = [asyncio.create_task(http.post("/v1/completions")) for _ in range(2)]
    async with asyncio.timeout(10):
        while vllm.num_read < 2:
            await asyncio.sleep(0.01)

    refused = await http.post("/v1/completions")

    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert (await http.get("/ready")).status_code == 200
    vllm.hold.set()
    assert {each.status_code for each in await asyncio.gather(*held)} == {200}
    assert (await http.post("/v1/completions")).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"x-long: " + b"a" * MAX_HEAD_BYTES,
        b"".join(b"x-%d: a\r\n" % number for number in range(1_000)),
        b"".join(b"x-%d: a\r\n" % number for number in range(MAX_HEADERS + 1)) + b"\r\n",
    ],
    ids=["one without end", "many without end", "too many"],
)
async def test_a_head_beyond_the_limit_is_refused(served: Served, head: bytes) -> None:
    _, http = served
    answer = await raw(http, b"GET /live HTTP/1.1\r\n" + head)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_request_line_without_end_is_refused(served: Served) -> None:
    _, http = served
    assert (await raw(http, b"GET /" + b"a" * MAX_HEAD_BYTES)).startswith(b"HTTP/1.1 431 ")


async def test_many_requests_on_one_connection_add_nothing_up(served: Served) -> None:
    _, http = served
    big = {"x-big": "a" * (MAX_HEAD_BYTES // 2)}
    for _ in range(5):
        assert (await http.get("/live", headers=big)).status_code == 200
    assert (await http.post("/v1/completions", content=b"x" * 150_000)).status_code == 200


async def raw(http: httpx.AsyncClient, said: bytes) -> bytes:
    """Send bytes as they are; returns all that is answered until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    try:
        async with asyncio.timeout(10):
            writer.write(said)
            return await reader.read()
    finally:
        writer.close()


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "LINGER_S", 0.5)
