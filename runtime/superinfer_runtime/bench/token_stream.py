"""When each token of one streamed answer arrived, pieced together from its chunks.

Chunks are not tokens: one may carry several, one none (a role, usage, a character that is still
incomplete). So chunks give the times and the stream's `usage` gives the count. The first token is
the first one with text, since that is what a reader sees; after it every chunk with a choice
counts as a token's arrival, and tokens beyond the chunks shared one, which makes their gap 0.
"""

import json
from typing import Any

from superinfer_runtime.bench.record import Served


class StreamError(Exception):
    """The stream carries an error, or no complete answer."""


class TokenStream:
    """Collects one answer: `event()` per server-sent event, then `served()`."""

    def __init__(self) -> None:
        self._arrivals_s: list[float] = []
        self._last_has_text = False
        self._silent_s: list[float] = []
        self._usage: dict[str, Any] = {}
        self._finished = False

    def event(self, data: bytes, now_s: float) -> None:
        """Take one event that arrived at `now_s`.

        Raises:
            StreamError: the server reports an error, or it is no OpenAI chunk.
        """
        if data == b"[DONE]":
            self._finished = True
            return
        try:
            chunk = json.loads(data)
        except ValueError:
            raise StreamError(f"a chunk is not JSON: {data[:80]!r}") from None
        if not isinstance(chunk, dict):
            raise StreamError(f"a chunk is not an object: {data[:80]!r}")
        if chunk.get("error"):
            raise StreamError(error_message(chunk))
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            self._choice(choice, now_s)

    def served(self, planned_input_tokens: int) -> Served:
        """The complete answer; the planned input length stands in where no usage came.

        Raises:
            StreamError: the stream broke off, or held no token.
        """
        if not self._finished:
            raise StreamError("the stream ended before the answer was finished")
        count = self._usage.get("completion_tokens")
        if not self._arrivals_s:
            # Text may be off altogether (no tokenizer on the server): then every chunk counts.
            self._arrivals_s, self._silent_s = self._silent_s, []
        if not self._arrivals_s or count == 0:
            raise StreamError("the answer holds no token")
        if count is None:
            count = len(self._arrivals_s) + len(self._silent_s)
        elif len(self._arrivals_s) > count and not self._last_has_text:
            self._arrivals_s.pop()  # it told why the answer ended, and held no token
        gaps = [
            later - earlier
            for earlier, later in zip(self._arrivals_s, self._arrivals_s[1:], strict=False)
        ]
        # Tokens before the first text are no part of the time from it to the last one.
        steps = max(count - 1 - len(self._silent_s), min(len(gaps), count - 1))
        return Served(
            first_token_s=self._arrivals_s[0],
            tbt_s=sum(gaps) / steps if steps else None,
            gaps_s=(*gaps, *(0.0 for _ in range(steps - len(gaps)))),
            input_tokens=self._usage.get("prompt_tokens") or planned_input_tokens,
            output_tokens=count,
        )

    def _choice(self, choice: dict[str, Any], now_s: float) -> None:
        delta = choice.get("delta") or {}
        text = (
            choice.get("text")
            or delta.get("content")
            or delta.get("reasoning_content")
            or delta.get("reasoning")
        )
        if choice.get("finish_reason"):
            self._finished = True
        if text or self._arrivals_s:
            self._arrivals_s.append(now_s)
            self._last_has_text = bool(text)
        elif not delta.get("role"):  # a chat's opening chunk names the role and holds no token
            self._silent_s.append(now_s)


def error_message(body: object) -> str:
    """The one line that matters of an OpenAI-shaped (or FastAPI's) error body."""
    if isinstance(body, dict):
        error = body.get("error", body)
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail") or error
        body = error
    return " ".join(str(body).split())[:300]
