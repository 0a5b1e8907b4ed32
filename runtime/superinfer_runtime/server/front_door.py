"""FrontDoor: the outermost ASGI layer. Our own routes, and the gate in front of vLLM's.

Our routes are answered before vLLM's middleware: its ``--api-key`` check covers everything under
``/v1``, which would refuse the budget's own token. The gate counts requests that make work (POST
and websockets) and refuses new ones while draining; questions (GET) are always let through.
"""

from collections.abc import Sequence

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.openai_error import openai_error

RETRY_AFTER_S = 5


class FrontDoor:
    """Answers ``routes`` itself and passes the rest to ``app`` while ``drain`` admits it."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route], drain: Drain) -> None:
        self._app = app
        self._router = Router(routes=list(routes))
        self._own_paths = frozenset(route.path for route in routes)
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self._own_paths:
            await self._router(scope, receive, send)
        elif not _makes_work(scope):
            await self._app(scope, receive, send)
        elif self._drain.draining:
            await _refuse(scope, receive, send)
        else:
            with self._drain.request():
                await self._app(scope, receive, send)


def _makes_work(scope: Scope) -> bool:
    kind: str = scope["type"]
    return kind == "websocket" or (kind == "http" and scope["method"] == "POST")


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1012, "reason": "server is draining"})
        return
    refusal = openai_error(
        503,
        "the server is shutting down and takes no new requests; try again",
        kind="service_unavailable_error",
        code="server_is_draining",
        # The connection would die with us: let the client open its next one elsewhere.
        headers={"retry-after": str(RETRY_AFTER_S), "connection": "close"},
    )
    await refusal(scope, receive, send)
