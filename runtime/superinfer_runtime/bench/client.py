"""The HTTP side: ask an OpenAI-compatible endpoint for one streamed answer at a time.

Prompts are random token ids, so no tokenizer is needed and no two prompts share a prefix; the chat
route takes text only and gets as many short words instead. A body depends on the seed and the
request's number alone. No answer raises: whatever goes wrong becomes the request's `Failure`.
One core reads about 5,000 chunks a second; past that the send lag in the report grows.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx
from superinfer_contract import headers

from superinfer_runtime.bench.record import Failure, RequestRecord, Served
from superinfer_runtime.bench.sse import EventReader
from superinfer_runtime.bench.token_stream import StreamError, TokenStream, error_message
from superinfer_runtime.bench.workload import PlannedRequest

FIRST_TOKEN_ID = 10
"""Below it stand the special tokens (padding, start, end) of the common tokenizers."""

CONNECT_TIMEOUT_S = 10.0
MODELS_TIMEOUT_S = 30.0

_WORDS = ("a", "the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on")


class EndpointType(StrEnum):
    """Which route is asked."""

    COMPLETIONS = "completions"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to ask. `url` may end in ``/v1``; without a `model` the first one served is taken."""

    url: str
    model: str | None = None
    type: EndpointType = EndpointType.COMPLETIONS
    api_key: str | None = None
    slo_header: bool = True
    ignore_eos: bool = True
    vocab_size: int = 200
    """Prompt token ids are below it, and at least `FIRST_TOKEN_ID`."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the URL must start with http:// or https://, not {self.url!r}")
        if self.vocab_size <= FIRST_TOKEN_ID:
            raise ValueError(f"the vocabulary must be larger than {FIRST_TOKEN_ID} tokens")

    @property
    def base_url(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1") + "/v1"


class EndpointError(Exception):
    """The endpoint cannot be measured at all; the message is one line for the user."""


class Client:
    """Open it, resolve the model, then `send` any number of requests at once.

    async with Client(endpoint, seed=0) as client:
        await client.resolve_model()
        record = await client.send(request, client.body(request), now)
    """

    def __init__(self, endpoint: Endpoint, seed: int) -> None:
        self._endpoint = endpoint
        self._seed = seed
        self._token_ids = range(FIRST_TOKEN_ID, endpoint.vocab_size)
        self._route = "/chat/completions" if endpoint.type is EndpointType.CHAT else "/completions"
        self.model = endpoint.model or ""
        self._http = httpx.AsyncClient(
            base_url=endpoint.base_url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {},
            # Open loop: never queue in the client, and let the run's own end be the only time-out.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A proxy from the environment would be measured along with the endpoint.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def resolve_model(self) -> None:
        """See that the endpoint answers, and pick its first model where none was named.

        Raises:
            EndpointError: unreachable, or no model to pick.
        """
        try:
            response = await self._http.get("/models", timeout=MODELS_TIMEOUT_S)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EndpointError(
                f"cannot reach {self._endpoint.base_url}: {_describe(error)}"
            ) from None
        if self.model:
            return  # an endpoint need not list its models
        if response.is_error:
            raise EndpointError(
                f"GET {self._endpoint.base_url}/models: {_refusal(response).message}; name a model"
            )
        try:
            self.model = str(response.json()["data"][0]["id"])
        except (ValueError, KeyError, IndexError, TypeError):
            raise EndpointError(
                f"GET {self._endpoint.base_url}/models lists no model: name one"
            ) from None

    def body(self, request: PlannedRequest) -> bytes:
        """The request's JSON; costly for long prompts, so made before the request is due."""
        rng = Random(f"{self._seed}/prompt {request.index}")
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": request.output_tokens,
            "temperature": 0,
            "seed": self._seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._endpoint.ignore_eos:
            body["ignore_eos"] = True
        if self._endpoint.type is EndpointType.CHAT:
            text = " ".join(rng.choices(_WORDS, k=request.input_tokens))
            body["messages"] = [{"role": "user", "content": text}]
        else:
            body["prompt"] = rng.choices(self._token_ids, k=request.input_tokens)
        return json.dumps(body, separators=(",", ":")).encode()

    async def send(
        self, request: PlannedRequest, body: bytes, now: Callable[[], float]
    ) -> RequestRecord:
        """Ask for one answer and read it to its end; `now` gives seconds since the run's start."""
        sent_s = now()
        outcome: Served | Failure
        try:
            outcome = await self._stream(request, body, now)
        except StreamError as error:
            outcome = Failure(str(error))
        except httpx.HTTPError as error:
            outcome = Failure(_describe(error))
        return RequestRecord(request, sent_s, now(), outcome)

    async def _stream(
        self, request: PlannedRequest, body: bytes, now: Callable[[], float]
    ) -> Served | Failure:
        request_headers = {"Content-Type": "application/json"}
        if self._endpoint.slo_header:
            request_headers[headers.SLO_CLASS] = request.slo_class.name
        async with self._http.stream(
            "POST", self._route, content=body, headers=request_headers
        ) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
                return _refusal(response)
            tokens, events = TokenStream(), EventReader()
            async for chunk in response.aiter_bytes():
                now_s = now()
                for data in events.feed(chunk):
                    tokens.event(data, now_s)
            for data in events.close():
                tokens.event(data, now())
            return tokens.served(request.input_tokens)


def _refusal(response: httpx.Response) -> Failure:
    try:
        message = error_message(response.json())
    except ValueError:
        message = error_message(response.text)
    return Failure(
        f"HTTP {response.status_code}: {message or response.reason_phrase}", response.status_code
    )


def _describe(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
