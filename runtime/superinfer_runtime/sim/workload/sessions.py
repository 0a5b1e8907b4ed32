"""Conversations: each turn's prompt is all that was said before and something new.

A session's first turn arrives by itself; each further one arrives a think time after the former
answer's last token, so how fast a server answers decides when it is asked again. All turns share
the session's text, which a prefix cache may hold. A session ends when its text fills the context.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from random import Random

from superinfer_runtime.bench.arrivals import ArrivalProcess, arrivals
from superinfer_runtime.bench.traces import Trace
from superinfer_runtime.sim.request import NextTurn, SimRequest
from superinfer_runtime.sim.workload.content import SessionText
from superinfer_runtime.sim.workload.lengths import Lognormal


@dataclass(frozen=True, slots=True)
class SessionShape:
    """What sessions look like; lengths may come from any trace, recorded or made up."""

    turns: Lognormal
    """Turns of a session, rounded."""
    opening: Trace
    """Length of the first prompt, and of its answer."""
    follow_up: Trace
    """Length of what a later turn adds, and of its answer."""
    think_s: Lognormal
    """Seconds from an answer's last token to the next turn."""
    max_context_tokens: int
    """Prompt and answer of a turn together: longer answers are cut, turns without room not asked,
    but for a first one, whose prompt is cut."""
    slo_class: str = "default"

    def __post_init__(self) -> None:
        if self.max_context_tokens < 2:
            raise ValueError("a context holds a prompt and an answer: at least 2 tokens")


@dataclass(frozen=True, slots=True)
class _Turn:
    prompt_tokens: int
    output_tokens: int
    think_s: float
    """Before this turn; of no meaning for the first."""


def session_requests(
    shape: SessionShape,
    *,
    sessions_per_s: float,
    duration_s: float,
    seed: int,
    process: ArrivalProcess = ArrivalProcess.POISSON,
    burstiness: float = 1.0,
) -> tuple[SimRequest, ...]:
    """First turns in order of arrival, each with the turns that follow it.

    Sessions that begin within ``duration_s`` go on after it until their last turn. The rate leaves
    the n-th session's turns, lengths and think times alone.

    Raises:
        ValueError: no session begins within the duration.
    """
    starts_s = arrivals(process, sessions_per_s, burstiness, Random(f"{seed}/session arrivals"))
    begun_s = takewhile(lambda start_s: start_s < duration_s, starts_s)
    requests = tuple(
        _chained(f"s{number}", start_s, turns, shape.slo_class)
        for number, start_s, turns in zip(count(), begun_s, _sessions(shape, seed), strict=False)
    )
    if not requests:
        raise ValueError(f"no session begins within {duration_s:g} s: raise the rate or duration")
    return requests


def _sessions(shape: SessionShape, seed: int) -> Iterator[list[_Turn]]:
    rng = Random(f"{seed}/sessions")
    openings = shape.opening.lengths(rng.getrandbits(64))
    follow_ups = shape.follow_up.lengths(rng.getrandbits(64))
    while True:
        # All of a session is drawn, room or not, so that the context does not shift later draws.
        added = [next(openings)]
        added += [next(follow_ups) for _ in range(shape.turns.draw_count(rng) - 1)]
        thinks_s = [shape.think_s.draw(rng) for _ in added]
        yield list(_fitted(added, thinks_s, shape.max_context_tokens))


def _fitted(
    added: list[tuple[int, int]], thinks_s: list[float], max_context_tokens: int
) -> Iterator[_Turn]:
    text_tokens = 0
    for (user_tokens, answer_tokens), think_s in zip(added, thinks_s, strict=True):
        prompt_tokens = text_tokens + max(1, user_tokens)
        if prompt_tokens >= max_context_tokens:
            if text_tokens:
                return
            prompt_tokens = max_context_tokens - 1
        output_tokens = min(max(1, answer_tokens), max_context_tokens - prompt_tokens)
        yield _Turn(prompt_tokens, output_tokens, think_s)
        text_tokens = prompt_tokens + output_tokens


def _chained(session_id: str, start_s: float, turns: list[_Turn], slo_class: str) -> SimRequest:
    text = SessionText(session_id)

    def request(index: int, following: NextTurn | None) -> SimRequest:
        return SimRequest(
            f"{session_id}-t{index}",
            start_s if index == 0 else 0.0,
            turns[index].prompt_tokens,
            turns[index].output_tokens,
            slo_class,
            content=text,
            next_turn=following,
        )

    following: NextTurn | None = None
    for index in range(len(turns) - 1, 0, -1):
        following = NextTurn(turns[index].think_s, request(index, following))
    return request(0, following)
