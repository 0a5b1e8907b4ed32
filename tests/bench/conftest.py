"""A small OpenAI-compatible endpoint on loopback."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from loopback_server import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FIRST_TOKEN_DELAY_S = 0.01
TOKEN_DELAY_S = 0.001


@dataclass
class FakeEndpoint:
    """Streams as many tokens as asked for; the knobs make it misbehave."""

    url: str = ""
    text: str = "x"
    tokens_per_chunk: int = 1
    refusal: tuple[int, dict[str, Any]] | None = None
    refused_class: str | None = None
    models: list[str] = field(default_factory=lambda: ["tiny"])
    hangs_after: int | None = None
    breaks_after: int | None = None
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._list_models),
                Route("/v1/completions", self._answer, methods=["POST"]),
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
            ]
        )

    async def _list_models(self, request: Request) -> Response:
        return JSONResponse({"data": [{"id": model} for model in self.models]})

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((request.url.path, dict(request.headers), body))
        if self.refusal and self.refused_class in (
            None,
            request.headers.get("x-superinfer-slo-class"),
        ):
            status, error = self.refusal
            return JSONResponse(error, status)
        chat = request.url.path.endswith("/chat/completions")
        return StreamingResponse(self._stream(body, chat), media_type="text/event-stream")

    async def _stream(self, body: dict[str, Any], chat: bool) -> AsyncIterator[bytes]:
        def event(data: object) -> bytes:
            return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()

        if chat:
            yield event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        await asyncio.sleep(FIRST_TOKEN_DELAY_S)
        left = asked = body["max_tokens"]
        while left:
            sent = asked - left
            if self.hangs_after is not None and sent >= self.hangs_after:
                await asyncio.sleep(60)
            if self.breaks_after is not None and sent >= self.breaks_after:
                return
            now = min(left, self.tokens_per_chunk)
            left -= now
            text = self.text * now
            choice: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
            yield event({"choices": [choice | {"finish_reason": None if left else "length"}]})
            await asyncio.sleep(TOKEN_DELAY_S)
        prompt = body["messages"][0]["content"].split() if chat else body["prompt"]
        yield event(
            {"choices": [], "usage": {"prompt_tokens": len(prompt), "completion_tokens": asked}}
        )
        yield b"data: [DONE]\n\n"


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint()
    with serving(fake.app()) as url:
        fake.url = url
        yield fake
