"""FrontDoor: the outermost ASGI layer. Our own routes, and the gates in front of vLLM's.

Our routes are answered before any key is asked for: probes have none, and the budget a token of its
own. In front of vLLM's routes stand, in this order: the API key, then for requests that make work
(POST and websockets) the drain and the number in flight, then the size of the body. Questions (GET)
are let through while draining.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from superinfer_contract.runtime_config import MAX_BODY_BYTES, MAX_CONCURRENT_REQUESTS

from superinfer_runtime.server.api_keys import ApiKeys, is_open
from superinfer_runtime.server.body_limit import BodyLimit
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.openai_error import openai_error

RETRY_AFTER_S = 5
MAX_OWN_BODY_BYTES = 64 * 1024

_CLOSE_CODES = {401: 1008, 429: 1013, 503: 1012}
"""What a refusal is among the codes that close a websocket."""


class FrontDoor:
    """Answers ``routes`` itself and passes the rest to ``app`` while ``drain`` admits it.

    Args:
        api_keys: None: whoever can connect may ask.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[Route],
        drain: Drain,
        *,
        api_keys: ApiKeys | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_requests: int = MAX_CONCURRENT_REQUESTS,
    ) -> None:
        self._app = BodyLimit(app, max_body_bytes)
        self._own = BodyLimit(Router(routes=list(routes)), MAX_OWN_BODY_BYTES)
        self._own_paths = frozenset(route.path for route in routes)
        self._drain = drain
        self._api_keys = api_keys
        self._max_requests = max_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in self._own_paths:
            await self._own(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            await _refuse(refusal, scope, receive, send)
        elif not _makes_work(scope):
            await self._app(scope, receive, send)
        else:
            with self._drain.request():
                await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if self._api_keys is not None and not is_open(scope):
            header = Headers(scope=scope).get("authorization")
            if not self._api_keys.accept(header):
                return _unauthorised(header)
        if not _makes_work(scope):
            return None
        if self._drain.draining:
            return _draining()
        return _too_many() if self._drain.num_in_flight >= self._max_requests else None


def _makes_work(scope: Scope) -> bool:
    kind: str = scope["type"]
    return kind == "websocket" or (kind == "http" and scope["method"] == "POST")


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        await refusal(scope, receive, send)
        return
    await receive()  # websocket.connect
    code = _CLOSE_CODES[refusal.status_code]
    reason = "server is draining" if code == 1012 else "refused"
    await send({"type": "websocket.close", "code": code, "reason": reason})


def _unauthorised(header: str | None) -> Response:
    return openai_error(
        401,
        "the API key is not valid"
        if header
        else "an API key is needed (Authorization: Bearer <key>)",
        kind="authentication_error",
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def _draining() -> Response:
    return openai_error(
        503,
        "the server is shutting down and takes no new requests; try again",
        kind="service_unavailable_error",
        code="server_is_draining",
        # The connection would die with us: let the client open its next one elsewhere.
        headers={"retry-after": str(RETRY_AFTER_S), "connection": "close"},
    )


def _too_many() -> Response:
    return openai_error(
        429,
        "the server has as many requests in flight as it takes; try again",
        kind="rate_limit_error",
        code="too_many_requests",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )
