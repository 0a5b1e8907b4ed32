"""SLO class middleware: from HTTP headers into the body that vLLM reads (pure ASGI).

vLLM takes request attributes for its scheduler from ``vllm_xargs`` in the JSON body, clients state
their class in a header. This rewrites the bodies of the generating routes; whatever it cannot read
as a JSON object passes unchanged, so that vLLM answers it in its own words. Answers are never
touched, so streaming stays vLLM's.
"""

import json
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from superinfer_contract.slo import SloClass

from superinfer_runtime.server.openai_error import openai_error
from superinfer_runtime.server.slo_request import SloHeaderError, XArgs, slo_arguments

GENERATING_PATHS = frozenset({"/v1/completions", "/v1/chat/completions", "/v1/responses"})

_XARGS = "vllm_xargs"


class SloClassMiddleware:
    """Checks the SLO headers of generating requests and, with ``inject``, hands them to vLLM."""

    def __init__(self, app: ASGIApp, classes: Sequence[SloClass], *, inject: bool) -> None:
        self._app = app
        self._classes = classes
        self._inject = inject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _generates(scope):
            await self._app(scope, receive, send)
            return
        try:
            arguments = slo_arguments(Headers(scope=scope), self._classes)
        except SloHeaderError as error:
            refusal = openai_error(400, str(error), param=error.header, code=error.code)
            await refusal(scope, receive, send)
            return
        if not self._inject:
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        body = with_arguments(body, arguments)
        await self._app(_with_length(scope, len(body)), _replay(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """Return the body, which `body_limit` bounds; None: the client went away before its end."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def with_arguments(body: bytes, arguments: XArgs) -> bytes:
    """Return ``body`` with ``arguments`` in its ``vllm_xargs``; ours win over the client's.

    A body that is no JSON object, or whose ``vllm_xargs`` is none, is returned as it is.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(request, dict):
        return body
    own = request.get(_XARGS)
    if not isinstance(own, dict | None):
        return body
    request[_XARGS] = {**(own or {}), **arguments}
    try:
        return json.dumps(request, separators=(",", ":")).encode()
    except RecursionError:  # nested as deep as could just be read
        return body


def _generates(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    return scope["path"].removeprefix(scope.get("root_path", "")) in GENERATING_PATHS


def _with_length(scope: Scope, length: int) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    headers["content-length"] = str(length)
    del headers["transfer-encoding"]
    return {**scope, "headers": headers.raw}


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives ``body`` once and then what the server has (a disconnect)."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
