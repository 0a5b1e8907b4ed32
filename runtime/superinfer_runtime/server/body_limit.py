"""Request bodies are bounded before anything buffers them (pure ASGI).

A body that is announced as too large is refused unread; one that turns out too large, or stops
coming, is cut: the application is told that its client went away, and what it would answer is
replaced by the refusal.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superinfer_runtime.server.openai_error import openai_error

IDLE_S = 30.0
"""Longest pause between two parts of a body."""
LINGER_S = 2.0
"""How long a refused client may go on sending, so that it comes to read the refusal."""


class BodyLimit:
    """Passes requests with bodies of up to ``max_bytes`` to ``app``."""

    def __init__(self, app: ASGIApp, max_bytes: int, idle_s: float = IDLE_S) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, send, self._max_bytes, self._idle_s)
        if _declared(scope) > self._max_bytes:
            body.refusal = _too_large(self._max_bytes)
        else:
            try:
                await self._app(scope, body.receive, body.send)
            except Exception:
                if body.refusal is None:
                    raise
        if body.refusal is not None and not body.answered:
            await _refuse(body.refusal, scope, receive, send)


class _Body:
    """One request's body on its way in."""

    def __init__(self, receive: Receive, send: Send, max_bytes: int, idle_s: float) -> None:
        self._receive, self._send = receive, send
        self._max_bytes, self._idle_s = max_bytes, idle_s
        self._num_bytes = 0
        self._ended = False
        self.refusal: Response | None = None
        self.answered = False

    async def receive(self) -> Message:
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        try:
            # After the body's end an application waits here for its client to leave.
            async with asyncio.timeout(None if self._ended else self._idle_s):
                message = await self._receive()
        except TimeoutError:
            self.refusal = _too_slow(self._idle_s)
            return {"type": "http.disconnect"}
        self._num_bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._num_bytes > self._max_bytes:
            self.refusal = _too_large(self._max_bytes)
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self.refusal is None or self.answered:
            self.answered = True
            await self._send(message)


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    async def send_and_linger(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "more_body": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_S):
                    while (await receive()).get("more_body", False):
                        pass
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    await refusal(scope, receive, send_and_linger)


def _declared(scope: Scope) -> int:
    value = Headers(scope=scope).get("content-length", "")
    return int(value) if value.isdecimal() and value.isascii() else 0


def _too_large(max_bytes: int) -> Response:
    return openai_error(
        413,
        f"the request body is larger than {max_bytes} bytes",
        code="request_too_large",
        headers={"connection": "close"},
    )


def _too_slow(idle_s: float) -> Response:
    return openai_error(
        408,
        f"nothing more of the request body came for {idle_s:g} s",
        code="request_timeout",
        headers={"connection": "close"},
    )
