from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.slo import check_classes
from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.slo_mix import PAPER_MIX, LoadClass
from superinfer_runtime.bench.traces import TOKENS_PER_HASH, RequestLog, TracedRequest
from superinfer_runtime.bench.workload import Workload, plan
from superinfer_runtime.sim.workload.content import HashedPrompt
from superinfer_runtime.sim.workload.lengths import Lognormal, LognormalLengths
from superinfer_runtime.sim.workload.planned import requests_of, slo_classes_of, with_lengths

CHAT = LoadClass("chat", 0.7, 1.0, 0.1)
BATCH = LoadClass("batch", 0.3, 30.0, 1.0, input_tokens=2000, output_tokens=10)
HASHED_LOG = RequestLog(
    "log",
    tuple(
        TracedRequest(second, 2 * TOKENS_PER_HASH + second, 50, (0, 1, 10 + second))
        for second in range(20)
    ),
    timed=True,
)

workloads = st.builds(
    Workload,
    seed=st.integers(),
    duration_s=st.floats(20, 40),
    process=st.just(ArrivalProcess.GAMMA),
    request_rate=st.floats(2, 5),
    burstiness=st.floats(0.5, 4),
    trace=st.sampled_from([None, HASHED_LOG]),
    range_ratio=st.floats(0, 0.99),
    classes=st.sampled_from([(CHAT,), (CHAT, BATCH)]),
)


@given(workloads)
def test_requests_are_those_that_bench_sends(workload: Workload) -> None:
    requests = requests_of(workload)
    planned = plan(workload)
    assert requests == requests_of(workload)
    assert [(r.arrival_s, r.prompt_tokens, r.output_tokens, r.slo_class) for r in requests] == [
        (p.arrival_s, p.input_tokens, p.output_tokens, p.slo_class.name) for p in planned
    ]
    assert len({request.request_id for request in requests}) == len(requests)
    assert all(request.max_tokens is None for request in requests)


def test_a_replay_keeps_the_whole_hashes_of_its_prompts() -> None:
    requests = requests_of(Workload(trace=HASHED_LOG, trace_speedup=2, duration_s=5))
    shared = HashedPrompt((0, 1), TOKENS_PER_HASH)
    assert [request.content for request in requests] == [shared] * 10


def test_a_cut_prompt_keeps_the_hashes_that_are_left() -> None:
    requests = requests_of(Workload(trace=HASHED_LOG, max_requests=3, max_input_tokens=600))
    assert {request.content for request in requests} == {HashedPrompt((0,), TOKENS_PER_HASH)}


@pytest.mark.parametrize(
    ("workload", "prefix_reuse"),
    [
        (Workload(trace=HASHED_LOG, max_requests=9), False),
        (Workload(trace=HASHED_LOG, max_requests=9, request_rate=1), True),
        (Workload(trace=HASHED_LOG, max_requests=9, classes=(BATCH,)), True),
        (Workload(trace=replace(HASHED_LOG, rows=(TracedRequest(0, 9, 9),)), max_requests=9), True),
    ],
)
def test_nothing_is_shared(workload: Workload, prefix_reuse: bool) -> None:
    requests = requests_of(workload, prefix_reuse=prefix_reuse)
    assert {request.content for request in requests} == {None}


def test_the_first_class_is_the_default_one() -> None:
    for mix in (PAPER_MIX, (CHAT, BATCH), (BATCH, CHAT)):
        classes = slo_classes_of(mix)
        check_classes(classes)
        assert [(c.name, c.ttft_s, c.tbt_s) for c in classes] == [
            (c.name, c.ttft_s, c.tbt_s) for c in mix
        ]
        assert classes[0].default


LENGTHS = {
    name: LognormalLengths(name, Lognormal(mean, 1.0, most=500), Lognormal(mean, 0.5, most=900))
    for name, mean in (("chat", 100), ("batch", 300))
}


@settings(max_examples=25)
@given(workloads, st.floats(5, 9))
def test_each_class_draws_its_own_lengths_whatever_the_rate(
    workload: Workload, rate: float
) -> None:
    slow = with_lengths(requests_of(workload), LENGTHS, workload.seed)
    fast = with_lengths(requests_of(replace(workload, request_rate=rate)), LENGTHS, workload.seed)
    for one, other in zip(slow, fast, strict=False):
        assert replace(one, arrival_s=0) == replace(other, arrival_s=0)
    for name, source in LENGTHS.items():
        of_class = [(r.prompt_tokens, r.output_tokens) for r in slow if r.slo_class == name]
        drawn = source.lengths(workload.seed)
        assert of_class == [next(drawn) for _ in of_class]


@given(st.floats(1, 1e4), st.floats(0, 2), st.integers(1, 10_000), st.integers())
def test_lognormal_lengths_stay_within_their_cut(
    mean: float, sigma: float, most: int, seed: int
) -> None:
    cut = Lognormal(mean, sigma, most)
    pairs = LognormalLengths("any", cut, cut).lengths(seed)
    assert all(1 <= tokens <= most for _ in range(20) for tokens in next(pairs))


def test_a_lognormal_has_the_mean_and_the_tail_asked_for() -> None:
    pairs = LognormalLengths(
        "any", Lognormal(222, 1.0, most=10**6), Lognormal(396, 0.8, most=10**6)
    ).lengths(0)
    prompts, answers = zip(*(next(pairs) for _ in range(20_000)), strict=True)
    assert sum(prompts) / len(prompts) == pytest.approx(222, rel=0.05)
    assert sum(answers) / len(answers) == pytest.approx(396, rel=0.05)
    ordered = sorted(answers)
    # exp(1.2816 x 0.8) between P90 and the median.
    assert ordered[18_000] / ordered[10_000] == pytest.approx(2.79, rel=0.05)


@pytest.mark.parametrize("broken", [(0, 1, 1), (1, -1, 1), (1, 1, 0), (float("nan"), 1, 1)])
def test_impossible_lognormals_are_refused(broken: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lognormal"):
        Lognormal(*broken)
