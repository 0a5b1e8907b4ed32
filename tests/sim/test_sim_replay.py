from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.traces import RequestLog, TracedRequest, TraceError
from superinfer_runtime.bench.workload import Workload, plan
from superinfer_runtime.sim.workload.replay import at_rate, load

MOONCAKE = """{"timestamp": 0, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 48]}
{"timestamp": 1000, "input_length": 600, "output_length": 26, "hash_ids": [46, 49]}
{"timestamp": 4000, "input_length": 700, "output_length": 3, "hash_ids": [46, 50]}
"""
LENGTHS = "num_prefill_tokens,num_decode_tokens\n74,918\n340,74\n"

gaps = st.lists(st.floats(0.01, 100), min_size=40, max_size=40)


def log(gaps_s: list[float]) -> RequestLog:
    arrivals_s = [sum(gaps_s[:index]) for index in range(len(gaps_s))]
    rows = tuple(TracedRequest(at_s, 10 + n, 5 + n) for n, at_s in enumerate(arrivals_s))
    return RequestLog("log", rows, timed=True)


@given(gaps, st.floats(0.5, 8))
def test_a_replay_keeps_its_requests_and_bunches_at_any_rate(
    gaps_s: list[float], rate: float
) -> None:
    trace = log(gaps_s)
    requests = plan(at_rate(Workload(trace=trace, duration_s=10), rate))
    assert len(requests) <= min(40, max(1, round(rate * 10)))
    assert requests[0].arrival_s == 0
    speedups = []
    for request, row in zip(requests, trace.rows, strict=False):
        assert (request.input_tokens, request.output_tokens) == (
            row.input_tokens,
            row.output_tokens,
        )
        if request.arrival_s:
            speedups.append(row.arrival_s / request.arrival_s)
    assert speedups == pytest.approx(speedups[:1] * len(speedups))


@given(gaps, st.integers(1, 6))
def test_the_rate_is_exact_over_the_duration(gaps_s: list[float], rate: int) -> None:
    workload = at_rate(Workload(trace=log(gaps_s), duration_s=5), rate)
    requests = plan(workload)
    assert len(requests) == 5 * rate
    following_s = log(gaps_s).rows[5 * rate].arrival_s / workload.trace_speedup
    assert following_s == pytest.approx(5)


def test_a_short_trace_ends_early_at_the_rate_asked_for() -> None:
    requests = plan(at_rate(Workload(trace=log([1.0, 3.0, 2.0]), duration_s=100), 8))
    assert [request.arrival_s for request in requests] == pytest.approx([0, 0.0625, 0.25])


def test_drawn_arrivals_just_come_faster() -> None:
    workload = Workload(request_rate=1, duration_s=10)
    assert at_rate(workload, 7) == replace(workload, request_rate=7)


def test_rates_without_meaning_are_refused() -> None:
    workload = Workload(trace=log([0.0, 0.0, 1.0]), duration_s=1)
    with pytest.raises(ValueError, match="at once"):
        at_rate(workload, 1)
    with pytest.raises(ValueError, match="above 0"):
        at_rate(workload, float("nan"))
    with pytest.raises(ValueError, match="above 0"):
        at_rate(Workload(request_rate=1, duration_s=1), -1)


def test_a_file_is_loaded_at_its_own_pace_or_another(tmp_path: Path) -> None:
    path = tmp_path / "mooncake.jsonl"
    path.write_text(MOONCAKE)
    own = load(path)
    assert [request.arrival_s for request in own] == [0, 1, 4]
    assert [request.arrival_s for request in load(path, trace_speedup=2)] == [0, 0.5, 2]
    assert [request.arrival_s for request in load(path, rate_per_s=2)] == [0, 0.25, 1]
    assert [request.arrival_s for request in load(path, duration_s=4)] == [0, 1]
    keys = [request.content and request.content.block_key(0, 16) for request in own]
    assert keys == [keys[0]] * 3
    assert keys[0] is not None
    assert {request.content for request in load(path, prefix_reuse=False)} == {None}


def test_options_of_bench_apply(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text(LENGTHS)
    classes = (LoadClass("chat", 1, 1, 1), LoadClass("batch", 1, 9, 9))
    requests = load(
        path,
        rate_per_s=9,
        duration_s=20,
        seed=3,
        classes=classes,
        max_input_tokens=100,
        max_output_tokens=80,
    )
    assert {(r.prompt_tokens, r.output_tokens) for r in requests} == {(74, 80), (100, 74)}
    assert {request.slo_class for request in requests} == {"chat", "batch"}


def test_options_that_contradict_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text(LENGTHS)
    with pytest.raises(ValueError, match="exclude each other"):
        load(path, duration_s=1, rate_per_s=1, trace_speedup=2)
    with pytest.raises(ValueError, match="no arrival times"):
        load(path, duration_s=1)
    with pytest.raises(ValueError, match="a duration"):
        load(path, rate_per_s=1)
    with pytest.raises(TraceError, match="No such file"):
        load(tmp_path / "absent")


def test_the_whole_azure_hour(traces_dir: Path) -> None:
    requests = load(traces_dir / "azure-llm-2023/AzureLLMInferenceTrace_conv.csv")
    assert len(requests) == pytest.approx(19_366, abs=1)
    assert 3_400 < requests[-1].arrival_s < 3_600


def test_a_replay_of_mooncake_finds_the_reuse_that_its_hashes_tell(traces_dir: Path) -> None:
    seen: set[object] = set()
    found_tokens = prompt_tokens = 0
    for request in load(traces_dir / "mooncake-fast25/synthetic_trace.jsonl"):
        assert request.content is not None
        prompt_tokens += request.prompt_tokens
        is_prefix = True
        for index in range(request.prompt_tokens // 512):
            key = request.content.block_key(index, 512)
            assert key is not None
            is_prefix = is_prefix and key in seen
            found_tokens += 512 * is_prefix
            seen.add(key)
    assert found_tokens / prompt_tokens == pytest.approx(0.65, abs=0.01)
