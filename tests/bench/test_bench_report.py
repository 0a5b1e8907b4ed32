import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.distribution import describe
from superinfer_runtime.bench.record import Failure, RequestRecord, Served, judge
from superinfer_runtime.bench.report import Report, make_report
from superinfer_runtime.bench.result_file import load_parameters, result
from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.tables import report_tables
from superinfer_runtime.bench.workload import PlannedRequest, Workload

CHAT = LoadClass("chat", 0.7, 1.0, 0.1)
BATCH = LoadClass("batch", 0.3, 30.0, 1.0)

seconds = st.floats(0, 100)


def served(
    ttft_s: float, *gaps_s: float, slo_class: LoadClass = CHAT, arrival_s: float = 2.0
) -> RequestRecord:
    return RequestRecord(
        PlannedRequest(0, arrival_s, slo_class, 10, len(gaps_s) + 1),
        sent_s=arrival_s,
        ended_s=arrival_s + ttft_s + sum(gaps_s),
        outcome=Served(
            arrival_s + ttft_s,
            sum(gaps_s) / len(gaps_s) if gaps_s else None,
            gaps_s,
            10,
            len(gaps_s) + 1,
        ),
    )


def failed(message: str = "gone", status: int | None = None, tokens: int = 5) -> RequestRecord:
    return RequestRecord(PlannedRequest(0, 0, CHAT, 10, tokens), 0.1, 0.2, Failure(message, status))


def report_of(*records: RequestRecord, duration_s: float = 10.0) -> Report:
    return make_report(
        records,
        (CHAT, BATCH),
        model="tiny",
        planned=len(records),
        interrupted=False,
        duration_s=duration_s,
    )


records_of_any_kind = st.lists(
    st.one_of(
        st.builds(
            lambda ttft_s, gaps_s, slo_class: served(ttft_s, *gaps_s, slo_class=slo_class),
            seconds,
            st.lists(seconds, max_size=5),
            st.sampled_from([CHAT, BATCH]),
        ),
        st.builds(failed, st.sampled_from(["gone", "late"])),
    ),
    max_size=30,
)


@given(records_of_any_kind)
def test_attainments_are_shares_and_counts_add_up(records: list[RequestRecord]) -> None:
    report = report_of(*records)
    for summary in (report.total, *(summary for _, summary in report.classes)):
        assert 0 <= summary.joint_attainment <= min(summary.ttft_attainment, summary.tbt_attainment)
        assert max(summary.ttft_attainment, summary.tbt_attainment) <= 1
        assert 0 <= summary.gap_attainment <= 1
        assert summary.completed + summary.failed == summary.requests
        assert summary.good_ttft <= summary.completed
    assert sum(summary.requests for _, summary in report.classes) == len(records)
    assert sum(summary.good_joint for _, summary in report.classes) == report.total.good_joint
    assert sum(count for _, count in report.failures) == report.total.failed
    json.dumps(result(report, {}), allow_nan=False)


@given(records_of_any_kind)
def test_one_more_failure_never_helps(records: list[RequestRecord]) -> None:
    before, after = report_of(*records).total, report_of(*records, failed()).total
    assert after.joint_attainment <= before.joint_attainment
    assert after.gap_attainment <= before.gap_attainment


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_percentiles_are_ordered_and_within_the_sample(sample: list[float]) -> None:
    figures = describe(sample)
    assert figures is not None
    assert min(sample) <= figures.p50 <= figures.p90 <= figures.p99 <= figures.max == max(sample)
    assert min(sample) - 1e-6 <= figures.mean <= max(sample) + 1e-6
    assert figures.std >= 0


def test_percentiles_are_numpys() -> None:
    figures = describe([4.0, 1.0, 3.0, 2.0])
    assert figures is not None
    assert (figures.mean, figures.p50) == (2.5, 2.5)
    assert (figures.p90, figures.p99) == pytest.approx((3.7, 3.97))
    assert describe([]) is None


@pytest.mark.parametrize(
    ("record", "ttft", "tbt"),
    [
        (served(1.0, 0.1, 0.1), True, True),
        (served(1.1, 0.1), False, True),
        (served(0.5, 0.05, 0.25), True, False),
        (served(0.5, 0.01, 0.15), True, True),
        (served(0.5), True, True),
        (served(20.0, 0.5, slo_class=BATCH), True, True),
        (failed(), False, False),
    ],
)
def test_each_request_is_judged_by_its_own_class(
    record: RequestRecord, ttft: bool, tbt: bool
) -> None:
    verdict = judge(record)
    assert (verdict.ttft, verdict.tbt, verdict.joint) == (ttft, tbt, ttft and tbt)


def test_missed_gaps_of_a_failure_count() -> None:
    assert report_of(served(0.1, 0.1, 0.2), failed(tokens=3)).total.gap_attainment == 0.25


def test_result_has_vllms_field_names() -> None:
    report = report_of(
        served(0.5, 0.05, 0.05),
        served(2.0, 0.05, 0.05),
        served(9.0, 0.5, slo_class=BATCH),
        failed("HTTP 500: no", 500),
    )
    written = result(report, {"seed": 0})
    assert written["duration"] == 10
    assert (written["completed"], written["failed"]) == (3, 1)
    assert (written["total_input_tokens"], written["total_output_tokens"]) == (30, 8)
    assert written["request_throughput"] == pytest.approx(0.3)
    assert written["request_goodput"] == pytest.approx(0.2)
    assert written["output_throughput"] == pytest.approx(0.8)
    assert written["median_ttft_ms"] == pytest.approx(2000)
    assert written["mean_tpot_ms"] == pytest.approx(200)
    for field in ("mean", "median", "std", "p90", "p99"):
        for latency in ("ttft", "tpot", "itl", "e2el"):
            assert written[f"{field}_{latency}_ms"] > 0
    assert written["joint_attainment"] == 0.5
    assert written["slo"]["chat"]["attainment"]["joint"] == pytest.approx(1 / 3)
    assert written["slo"]["batch"]["good"] == {"ttft": 1, "tbt": 1, "joint": 1}
    assert written["failures"] == [{"message": "HTTP 500: no", "status": 500, "count": 1}]
    assert written["load"] == {"seed": 0}


def test_load_parameters_tell_everything_but_the_key() -> None:
    endpoint = Endpoint("http://localhost:1", api_key="hidden")
    workload = Workload(request_rate=2, duration_s=3, classes=(CHAT, BATCH))
    parameters = load_parameters(endpoint, workload, 60)
    assert "hidden" not in json.dumps(parameters)
    assert parameters["request_rate"] == 2
    assert [one["name"] for one in parameters["slo_classes"]] == ["chat", "batch"]


def test_tables_fit_80_columns_and_name_what_went_wrong() -> None:
    report = make_report(
        [served(0.5, 0.05), served(9.0, 0.5, slo_class=BATCH), failed("HTTP 500: [oops]", 500)],
        (CHAT, BATCH),
        model="tiny",
        planned=10,
        interrupted=True,
        duration_s=10,
    )
    out = StringIO()
    Console(file=out, width=80).print(report_tables(report))
    text = out.getvalue()
    assert "…" not in text
    for expected in (
        "chat",
        "batch",
        "all",
        "33.3%",
        "66.7%",
        "3 of 10 requests",
        "1 failed: HTTP",
    ):
        assert expected in text
    assert "The load generator fell behind: 1 % of requests" in text
