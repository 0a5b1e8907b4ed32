from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.traces import RequestLog, TracedRequest
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.content import SessionText
from superinfer_runtime.sim.workload.lengths import Lognormal, LognormalLengths
from superinfer_runtime.sim.workload.sessions import SessionShape, session_requests

LOG = RequestLog("log", (TracedRequest(0, 30, 7), TracedRequest(0, 0, 40)), timed=False)
SHAPE = SessionShape(
    turns=Lognormal(4, 0.8, most=20),
    opening=LognormalLengths("opening", Lognormal(100, 1, most=900), Lognormal(80, 1, most=900)),
    follow_up=LOG,
    think_s=Lognormal(20, 1, most=100),
    max_context_tokens=100_000,
)

shapes = st.builds(
    SessionShape,
    turns=st.builds(Lognormal, st.floats(1, 8), st.floats(0, 1), st.just(20)),
    opening=st.just(SHAPE.opening),
    follow_up=st.sampled_from([LOG, SHAPE.opening]),
    think_s=st.builds(Lognormal, st.floats(0.1, 30), st.floats(0, 1), st.just(60)),
    max_context_tokens=st.integers(2, 2_000),
)
seeds = st.integers()


def turns(first: SimRequest) -> Iterator[SimRequest]:
    yield first
    while first.next_turn is not None:
        first = first.next_turn.request
        yield first


def requests(shape: SessionShape, seed: int, rate: float = 3.0) -> tuple[SimRequest, ...]:
    return session_requests(shape, sessions_per_s=rate, duration_s=10, seed=seed)


@settings(max_examples=50)
@given(shapes, seeds)
def test_sessions_arrive_in_order_and_depend_on_the_seed_alone(
    shape: SessionShape, seed: int
) -> None:
    firsts = requests(shape, seed)
    assert firsts == requests(shape, seed)
    arrivals_s = [first.arrival_s for first in firsts]
    assert arrivals_s == sorted(arrivals_s)
    assert 0 <= arrivals_s[0] <= arrivals_s[-1] < 10
    ids = [turn.request_id for first in firsts for turn in turns(first)]
    assert len(set(ids)) == len(ids)


@settings(max_examples=50)
@given(shapes, seeds)
def test_no_turn_outgrows_the_context(shape: SessionShape, seed: int) -> None:
    for first in requests(shape, seed):
        for turn in turns(first):
            assert turn.prompt_tokens >= 1
            assert turn.output_tokens >= 1
            assert turn.prompt_tokens + turn.output_tokens <= shape.max_context_tokens
            assert turn.content == first.content


@settings(max_examples=50)
@given(seeds)
def test_a_prompt_is_the_former_prompt_its_answer_and_the_new_text(seed: int) -> None:
    added = {max(1, row.input_tokens) for row in LOG.rows}
    answers = {row.output_tokens for row in LOG.rows}
    for first in requests(SHAPE, seed):
        assert len(list(turns(first))) <= SHAPE.turns.most
        for former, later in pairwise(turns(first)):
            new_tokens = later.prompt_tokens - former.prompt_tokens - former.output_tokens
            assert new_tokens in added
            assert later.output_tokens in answers
            assert former.next_turn is not None
            assert 0 < former.next_turn.think_s <= SHAPE.think_s.most


@settings(max_examples=25)
@given(seeds, st.floats(4, 9))
def test_the_rate_leaves_each_session_alone(seed: int, rate: float) -> None:
    for slow, fast in zip(requests(SHAPE, seed), requests(SHAPE, seed, rate), strict=False):
        assert replace(slow, arrival_s=0) == replace(fast, arrival_s=0)


@settings(max_examples=25)
@given(seeds, st.integers(2, 300))
def test_a_smaller_context_only_ends_sessions_earlier(seed: int, context: int) -> None:
    tight = replace(SHAPE, max_context_tokens=context)
    for roomy, cut in zip(requests(SHAPE, seed), requests(tight, seed), strict=True):
        whole = list(turns(roomy))
        left = list(turns(cut))
        assert len(left) <= len(whole)
        # All but the last turn that is left had room for its answer.
        for one, other in zip(whole, left[:-1], strict=False):
            assert (one.prompt_tokens, one.output_tokens) == (
                other.prompt_tokens,
                other.output_tokens,
            )


def test_sessions_differ_in_content_and_seeds_in_sessions() -> None:
    firsts = requests(SHAPE, 0)
    assert len({first.content for first in firsts}) == len(firsts)
    assert all(isinstance(first.content, SessionText) for first in firsts)
    assert firsts != requests(SHAPE, 1)


def test_sessions_may_come_in_bursts() -> None:
    bursty = session_requests(
        SHAPE,
        sessions_per_s=3,
        duration_s=1_000,
        seed=0,
        process=ArrivalProcess.GAMMA,
        burstiness=0.1,
    )
    gaps_s = [later.arrival_s - former.arrival_s for former, later in pairwise(bursty)]
    mean_s = sum(gaps_s) / len(gaps_s)
    assert mean_s == pytest.approx(1 / 3, rel=0.2)
    assert sum(gap_s < mean_s / 10 for gap_s in gaps_s) > len(gaps_s) / 2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no session begins"):
        session_requests(SHAPE, sessions_per_s=0.001, duration_s=0.001, seed=0)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        replace(SHAPE, max_context_tokens=1)
