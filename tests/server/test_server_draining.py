"""Front door, probes and stopping: what is answered while the server comes down, and in what order.

Signals are delivered by calling the handler; the real ones are in the end-to-end tests.
"""

import asyncio
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.front_door import FrontDoor
from superinfer_runtime.server.probe_routes import probe_routes
from superinfer_runtime.server.stopping import Stopping

Client = Callable[[ASGIApp], httpx.AsyncClient]


class Inner:
    """The application behind the front door; its work lasts until ``finish`` is set."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.started = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/completions", self.work, methods=["POST"]),
                Route("/v1/models", self.ask),
                Route("/live", self.ask),
            ]
        )

    async def work(self, _: Request) -> Response:
        self.started.set()
        await self.finish.wait()
        return JSONResponse({"done": True})

    async def ask(self, _: Request) -> Response:
        return JSONResponse({"inner": True})


async def test_a_drain_lets_the_running_finish_and_refuses_the_new(client: Client) -> None:
    inner, drain = Inner(), Drain()
    door = client(FrontDoor(inner.app, [], drain))
    running = asyncio.create_task(door.post("/v1/completions"))
    await asyncio.wait_for(inner.started.wait(), 5)
    assert drain.num_in_flight == 1
    drain.begin()
    refused = await door.post("/v1/completions")
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["connection"] == "close"
    assert refused.json()["error"]["type"] == "service_unavailable_error"
    assert (await door.get("/v1/models")).status_code == 200
    inner.finish.set()
    assert (await running).json() == {"done": True}
    await asyncio.wait_for(drain.idle(), 5)


async def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    drain = Drain()
    door = FrontDoor(broken, [], drain)
    with pytest.raises(RuntimeError):
        await door({"type": "http", "method": "POST", "path": "/x", "headers": []}, _never, _ignore)
    assert drain.num_in_flight == 0


async def test_a_websocket_is_closed_while_draining() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    drain = Drain()
    drain.begin()
    await FrontDoor(_never, [], drain)({"type": "websocket", "path": "/x"}, receive, send)
    assert sent[0]["type"] == "websocket.close"


async def test_probes_are_answered_before_the_inner_application(client: Client) -> None:
    reasons: list[str | None] = [None]
    routes = probe_routes(lambda: reasons[-1])
    door = client(FrontDoor(Inner().app, routes, Drain()))
    assert (await door.get("/live")).json() == {"status": "live"}
    assert (await door.get("/ready")).status_code == 200
    reasons.append("draining")
    not_ready = await door.get("/ready")
    assert not_ready.status_code == 503
    assert not_ready.json() == {"status": "not ready", "reason": "draining"}
    assert (await door.get("/live")).status_code == 200


class Engine:
    def __init__(self) -> None:
        self.stopped_with: float | None = None

    def shutdown(self, timeout: float) -> None:
        self.stopped_with = timeout


class Stop:
    """A `Stopping` with a fake server and engine, and what it said."""

    def __init__(self, drain_s: float) -> None:
        self.drain = Drain()
        self.said: list[str] = []
        self.stopping = Stopping(self.drain, drain_s, self.said.append)
        self.engine = Engine()
        self.server = SimpleNamespace(
            should_exit=False, config=SimpleNamespace(timeout_graceful_shutdown=None)
        )

    def signal(self, number: signal.Signals) -> None:
        self.stopping.on_signal(number, self.server, self.engine)

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            while not self.server.should_exit:
                await asyncio.sleep(0.01)
        assert self.engine.stopped_with is not None
        assert self.server.config.timeout_graceful_shutdown is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_server_stops_at_once(number: signal.Signals) -> None:
    stop = Stop(drain_s=3600)
    assert not stop.stopping.requested
    stop.signal(number)
    assert stop.drain.draining
    await stop.ended()
    assert not stop.stopping.was_cut


async def test_a_busy_server_stops_when_its_last_request_is_done() -> None:
    stop = Stop(drain_s=3600)
    with stop.drain.request():
        stop.signal(signal.SIGTERM)
        stop.signal(signal.SIGTERM)  # asked again: nothing new
        await asyncio.sleep(0.05)
        assert stop.engine.stopped_with is None
    await stop.ended()
    assert stop.said == ["draining: 1 in flight, up to 3600 s"]


async def test_the_drain_time_bounds_it() -> None:
    stop = Stop(drain_s=0.01)
    with stop.drain.request():
        stop.signal(signal.SIGTERM)
        await stop.ended()
    assert "1 unfinished" in stop.said[-1]
    assert not stop.stopping.was_cut


async def test_a_second_interrupt_cuts_it() -> None:
    stop = Stop(drain_s=3600)
    with stop.drain.request():
        stop.signal(signal.SIGINT)
        stop.signal(signal.SIGINT)
        await stop.ended()
    assert stop.stopping.was_cut


async def _never(*_: Any) -> Any:
    raise AssertionError("must not be called")


async def _ignore(_: Message) -> None:
    return None
