from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.slo_mix import LoadClass, parse_load_class
from superinfer_runtime.bench.traces import RequestLog, TracedRequest
from superinfer_runtime.bench.workload import Workload, plan

CHAT = LoadClass("chat", 0.7, 1.0, 0.1)
BATCH = LoadClass("batch", 0.3, 30.0, 1.0, input_tokens=2000, output_tokens=10)
LOG = RequestLog(
    "log", tuple(TracedRequest(second, 100 + second, 50) for second in range(20)), timed=True
)

workloads = st.builds(
    Workload,
    seed=st.integers(),
    duration_s=st.floats(20, 60),
    max_requests=st.one_of(st.none(), st.integers(1, 50)),
    process=st.just(ArrivalProcess.GAMMA),
    request_rate=st.floats(2, 5),
    burstiness=st.floats(0.5, 4),
    trace=st.sampled_from([None, LOG]),
    input_tokens=st.integers(1, 1000),
    output_tokens=st.integers(1, 1000),
    range_ratio=st.floats(0, 0.99),
    max_input_tokens=st.one_of(st.none(), st.integers(1, 500)),
    max_output_tokens=st.one_of(st.none(), st.integers(1, 500)),
    classes=st.sampled_from([(CHAT,), (CHAT, BATCH)]),
)


@given(workloads)
def test_a_plan_keeps_what_was_asked_for(workload: Workload) -> None:
    requests = plan(workload)
    assert workload.duration_s is not None
    assert requests == plan(workload)
    assert [request.index for request in requests] == list(range(len(requests)))
    assert [r.arrival_s for r in requests] == sorted(r.arrival_s for r in requests)
    assert requests[-1].arrival_s < workload.duration_s
    assert len(requests) <= (workload.max_requests or len(requests))
    for request in requests:
        assert 1 <= request.input_tokens <= (workload.max_input_tokens or request.input_tokens)
        assert 1 <= request.output_tokens <= (workload.max_output_tokens or request.output_tokens)


@settings(max_examples=25)
@given(workloads, st.floats(6, 12))
def test_the_rate_leaves_classes_and_lengths_alone(workload: Workload, rate: float) -> None:
    slow = plan(workload)
    fast = plan(replace(workload, request_rate=rate))
    for one, other in zip(slow, fast, strict=False):
        assert replace(one, arrival_s=0) == replace(other, arrival_s=0)


def test_another_seed_is_another_load() -> None:
    workload = Workload(request_rate=5, duration_s=20)
    assert plan(workload) != plan(replace(workload, seed=1))


def test_shares_and_a_class_with_lengths_of_its_own() -> None:
    requests = plan(Workload(request_rate=100, max_requests=2000, classes=(CHAT, BATCH)))
    batch = [request for request in requests if request.slo_class is BATCH]
    assert len(batch) / len(requests) == pytest.approx(0.3, abs=0.05)
    assert {(request.input_tokens, request.output_tokens) for request in batch} == {(2000, 10)}


def test_lengths_spread_around_their_mean() -> None:
    requests = plan(
        Workload(request_rate=100, max_requests=2000, input_tokens=100, range_ratio=0.5)
    )
    lengths = [request.input_tokens for request in requests]
    assert min(lengths) >= 50
    assert max(lengths) <= 150
    assert sum(lengths) / len(lengths) == pytest.approx(100, rel=0.05)


def test_a_log_is_replayed_faster_and_cut_at_the_duration() -> None:
    requests = plan(Workload(trace=LOG, trace_speedup=2, duration_s=5, max_input_tokens=105))
    assert [request.arrival_s for request in requests] == [second / 2 for second in range(10)]
    assert [request.input_tokens for request in requests][:7] == [100, 101, 102, 103, 104, 105, 105]


def test_a_rate_replaces_a_logs_arrivals_but_not_its_lengths() -> None:
    requests = plan(Workload(trace=LOG, request_rate=50, duration_s=2))
    assert len(requests) > len(LOG.rows)
    assert all(100 <= request.input_tokens < 120 for request in requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_s": None}, "needs a duration"),
        ({"request_rate": None}, "request rate"),
        ({"request_rate": None, "trace": replace(LOG, timed=False)}, "no arrival times"),
        ({"request_rate": 0}, "request rate must be above 0"),
        ({"request_rate": float("nan")}, "above 0"),
        ({"duration_s": -1}, "duration must be above 0"),
        ({"max_requests": 0}, "above 0"),
        ({"input_tokens": 0}, "input length"),
        ({"range_ratio": 1.0}, "range ratio"),
        ({"burstiness": 2.0}, "gamma"),
        ({"trace_speedup": 2.0}, "speedup"),
        ({"classes": ()}, "SLO classes"),
        ({"classes": (CHAT, CHAT)}, "differ"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Workload(request_rate=1.0, duration_s=1.0), **options)  # type: ignore[arg-type]


def test_a_plan_without_requests_is_refused() -> None:
    with pytest.raises(ValueError, match="no request arrives"):
        plan(Workload(request_rate=0.001, duration_s=0.001))


def test_classes_are_read_from_the_command_line() -> None:
    assert parse_load_class("chat:0.7:1.0:0.1") == CHAT
    assert parse_load_class("batch:0.3:30:1:2000:10") == BATCH


@pytest.mark.parametrize(
    "text",
    [
        "chat",
        "chat:1:1",
        "chat:1:1:1:5",
        "Chat:1:1:1",
        "chat:0:1:1",
        "chat:1:x:1",
        "chat:1:1:nan",
        "chat:1:1:1:0:5",
        "chat:1:1:1:5:1.5",
        ":1:1:1",
    ],
)
def test_broken_classes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="SLO class"):
        parse_load_class(text)
