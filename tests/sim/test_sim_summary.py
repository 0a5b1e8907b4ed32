import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import BATCH, CHAT, Life, life, lives, run_of
from pydantic import TypeAdapter
from superinfer_runtime.bench.distribution import describe
from superinfer_runtime.sim.report.summary import RunSummary, judge, summarize
from superinfer_runtime.sim.report.weighted_sample import WeightedSample
from superinfer_runtime.sim.request import SimRecord


@given(lives)
def test_attainments_are_shares_and_joint_is_the_least(made_up: list[Life]) -> None:
    summary = summarize(run_of(*made_up))
    for group in (summary.total, *summary.classes.values()):
        assert 0 <= group.joint_attainment <= min(group.ttft_attainment, group.tbt_attainment)
        assert max(group.ttft_attainment, group.tbt_attainment) <= 1
        assert 0 <= group.gap_attainment <= 1
        assert 0 <= group.cached_share <= 1


@given(lives)
def test_counts_of_the_total_are_the_sums_of_the_classes(made_up: list[Life]) -> None:
    summary = summarize(run_of(*made_up))
    for count in (
        *("requests", "good_ttft", "good_tbt", "good_joint", "gaps", "good_gaps"),
        *("input_tokens", "output_tokens", "cached_tokens", "rotations", "recomputes"),
    ):
        in_classes = sum(getattr(group, count) for group in summary.classes.values())
        assert getattr(summary.total, count) == in_classes
    assert summary.total.requests == len(made_up)


@given(lives)
def test_written_and_read_again_is_the_same(made_up: list[Life]) -> None:
    written = json.dumps(summarize(run_of(*made_up)).to_dict(), allow_nan=False)
    read = TypeAdapter(RunSummary).validate_python(json.loads(written))
    assert json.dumps(read.to_dict()) == written


def test_figures_are_those_computed_by_hand() -> None:
    run = run_of(
        life(0.5, 0.0625, 0.1875, rotations=2, cached_tokens=4),
        life(1.5, 0.03125, prompt_tokens=30, recomputes=1),
        life(20.0, 1.5, slo_class=BATCH),
        life(0.25),
    )
    summary = summarize(run)
    total, chat, batch = summary.total, summary.classes["chat"], summary.classes["batch"]
    assert (chat.requests, chat.good_ttft, chat.good_tbt, chat.good_joint) == (3, 2, 3, 2)
    assert (batch.requests, batch.good_ttft, batch.good_tbt, batch.good_joint) == (1, 1, 0, 0)
    assert (total.gaps, total.good_gaps, chat.gaps, chat.good_gaps) == (4, 2, 3, 2)
    assert total.output_tokens == 8
    assert total.output_tokens_per_s == pytest.approx(0.8)
    assert (total.rotations, total.recomputes) == (2, 1)
    assert total.cached_share == pytest.approx(4 / 60)
    assert total.ttft_s is not None
    assert total.ttft_s.p50 == pytest.approx(1.0)
    assert chat.tbt_s is not None
    assert chat.tbt_s.mean == pytest.approx((0.125 + 0.03125) / 2)
    assert total.e2e_s is not None
    assert total.e2e_s.max == pytest.approx(21.5)
    assert total.gap_s is not None
    assert (total.gap_s.p50, total.gap_s.max) == (0.125, 1.5)
    assert (summary.peak_hbm_share, summary.peak_dram_share) == (0.8, 0.5)
    assert (summary.bytes_out, summary.bytes_in, summary.stalls) == (3 * 10**9, 2 * 10**9, 4)


def test_a_class_without_requests_has_no_latency() -> None:
    idle = summarize(run_of(life(0.5, 0.05))).classes["batch"]
    assert idle.requests == 0
    assert (idle.ttft_s, idle.tbt_s, idle.gap_s, idle.e2e_s) == (None, None, None, None)


@pytest.mark.parametrize(
    ("record", "ttft", "tbt"),
    [
        (life(1.0, 0.125, 0.125)[0], True, True),
        (life(1.125, 0.125)[0], False, True),
        (life(0.5, 0.0625, 0.25)[0], True, False),
        (life(0.5)[0], True, True),
    ],
)
def test_a_request_is_judged_by_ttft_and_mean_gap(record: SimRecord, ttft: bool, tbt: bool) -> None:
    verdict = judge(record, CHAT)
    assert (verdict.ttft, verdict.tbt, verdict.joint) == (ttft, tbt, ttft and tbt)


@given(st.dictionaries(st.floats(0, 1e4), st.integers(0, 6)))
def test_a_weighted_sample_is_described_as_if_written_out(counts: dict[float, int]) -> None:
    written_out = sorted(value for value, count in counts.items() for _ in range(count))
    sample = WeightedSample(counts)
    assert list(sample) == written_out
    assert sample[1:-1] == written_out[1:-1]
    described, expected = sample.describe(), describe(written_out)
    if expected is None:
        assert described is None
        return
    assert described is not None
    for figure in ("p50", "p90", "p99", "max"):
        assert getattr(described, figure) == getattr(expected, figure)
    assert described.mean == pytest.approx(expected.mean)
    assert described.std == pytest.approx(expected.std, abs=1e-9)
