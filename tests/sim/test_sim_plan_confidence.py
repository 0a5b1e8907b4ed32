"""How sure an attainment is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.report.attainment import WINDOWS, attainment, class_attainments
from superinfer_runtime.sim.request import SimRecord

window = st.integers(0, 200).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
windows = st.lists(window, min_size=WINDOWS, max_size=WINDOWS)
CHAT = SloClass(name="chat", ttft_s=1.0, tbt_s=0.1, default=True)
BATCH = SloClass(name="batch", ttft_s=60.0, tbt_s=1.0)


def record(arrival_s: float, ttft_s: float, slo_class: str = "chat") -> SimRecord:
    return SimRecord(
        request_id=f"{slo_class}-{arrival_s}",
        slo_class=slo_class,
        arrival_s=arrival_s,
        prompt_tokens=10,
        output_tokens=11,
        first_token_s=arrival_s + ttft_s,
        finish_s=arrival_s + ttft_s + 0.5,
        max_gap_s=0.05,
        late_gaps=0,
        cached_tokens=0,
        rotations=0,
        recomputes=0,
    )


@given(windows)
def test_the_interval_holds_the_share(counts: list[tuple[int, int]]) -> None:
    found = attainment(counts)
    assert 0 <= found.low <= found.share <= found.high <= 1


@given(windows)
def test_ten_times_the_requests_make_it_no_wider(counts: list[tuple[int, int]]) -> None:
    few = attainment(counts)
    many = attainment([(10 * good, 10 * total) for good, total in counts])
    assert many.high - many.low <= few.high - few.low + 1e-9


def test_requests_that_fare_alike_count_for_less() -> None:
    spread = attainment([(95, 100)] * WINDOWS)
    one_bad_window = attainment([(100, 100)] * (WINDOWS - 1) + [(0, 100)])
    assert spread.share == one_bad_window.share == 0.95
    assert one_bad_window.high - one_bad_window.low > 5 * (spread.high - spread.low)


def test_even_windows_leave_wilsons_interval() -> None:
    # 81 of 263: the worked example of Newcombe, Statistics in Medicine 17 (1998), table I.
    found = attainment([(81, 263)] + [(0, 0)] * (WINDOWS - 1))
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_no_request_missed_of_a_few_is_no_certainty() -> None:
    found = attainment([(1, 1)] * WINDOWS)
    assert found.meets(0.95)
    assert not found.sure(0.95)
    assert attainment([(50, 50)] * WINDOWS).sure(0.95)
    assert attainment([(10, 50)] * WINDOWS).sure(0.95)


def test_a_class_without_requests_missed_nothing_and_is_unsure() -> None:
    found = class_attainments([record(0.0, 0.5)], [CHAT, BATCH])
    assert found["batch"].requests == 0
    assert found["batch"].meets(0.99)
    assert not found["batch"].sure(0.99)


def test_each_class_is_judged_by_its_own_targets() -> None:
    records = [record(float(at), 2.0, name) for at in range(40) for name in ("chat", "batch")]
    found = class_attainments(records, [CHAT, BATCH])
    assert (found["chat"].share, found["batch"].share) == (0.0, 1.0)
    assert found["chat"].requests == found["batch"].requests == 40


@given(
    st.lists(
        st.tuples(st.floats(0, 1000), st.booleans(), st.sampled_from(["chat", "batch"])),
        max_size=60,
    )
)
def test_every_record_counts_once(lives: list[tuple[float, bool, str]]) -> None:
    records = [record(at, 0.5 if good else 100.0, name) for at, good, name in lives]
    found = class_attainments(records, [CHAT, BATCH])
    for slo_class in (CHAT, BATCH):
        own = [good for _, good, name in lives if name == slo_class.name]
        assert found[slo_class.name].requests == len(own)
        if own:
            assert found[slo_class.name].share == pytest.approx(sum(own) / len(own))
