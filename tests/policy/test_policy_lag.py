"""Virtual lag time: the paper's formulas, normalised classes, relegation and its bound."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_contract.slo import SloClass
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.lag import (
    is_lost,
    relegation_bound_s,
    rotary_lag_s,
    running_lag_s,
    unaged_lag_s,
    waiting_lag_s,
)

seconds = st.floats(0.0, 500.0)
ttfts = st.floats(0.05, 60.0)
tbts = st.floats(0.005, 2.0)


@given(
    arrival_s=seconds,
    waited_s=seconds,
    ttft_s=ttfts,
    tbt_s=tbts,
    alpha=st.floats(0.1, 10.0),
    beta_ttft=st.floats(0.0, 1.0),
    beta_tbt=st.floats(-10.0, 10.0),
)
def test_without_credit_and_relegation_lag_is_the_papers(
    arrival_s: float,
    waited_s: float,
    ttft_s: float,
    tbt_s: float,
    alpha: float,
    beta_ttft: float,
    beta_tbt: float,
) -> None:
    knobs = SchedulerKnobs(
        alpha=alpha, beta_ttft=beta_ttft, beta_tbt=beta_tbt, tbt_credit=0, relegate=False
    )
    candidate = Candidate("a", Targets(ttft_s, tbt_s), arrival_s, max_tokens=100)
    now_s = arrival_s + waited_s
    assert waiting_lag_s(candidate, now_s, knobs) == pytest.approx(
        max(now_s - arrival_s - beta_ttft * ttft_s, 0.0), abs=1e-6
    )
    candidate.record_tokens(1, arrival_s + waited_s / 2)
    assert rotary_lag_s(candidate, now_s, knobs) == pytest.approx(
        alpha * max(now_s - (arrival_s + waited_s / 2) - beta_tbt * tbt_s, 0.0), abs=1e-6
    )
    candidate.run_start_s = arrival_s
    assert running_lag_s(candidate, now_s) == pytest.approx(-waited_s)


@given(
    share=st.floats(0.0, 0.99),
    tight=st.tuples(ttfts, tbts),
    loose=st.tuples(ttfts, tbts),
)
def test_pauses_compare_by_the_share_of_the_target_that_is_gone(
    share: float, tight: tuple[float, float], loose: tuple[float, float]
) -> None:
    """Equally far into their own TBT targets, classes of one weight lag alike."""
    knobs = SchedulerKnobs(tbt_credit=0, relegate=False)
    classes = [
        SloClass(name=name, ttft_s=ttft_s, tbt_s=tbt_s)
        for name, (ttft_s, tbt_s) in (("tight", tight), ("loose", loose))
    ]
    pauses: list[float] = []
    for slo_class in classes:
        candidate = Candidate("a", Targets.of(slo_class, classes[1]), arrival_s=0.0)
        candidate.record_tokens(1, 0.0)
        pauses.append(rotary_lag_s(candidate, share * slo_class.tbt_s, knobs))
    assert pauses[0] == pytest.approx(pauses[1], abs=1e-6)


@given(
    targets_s=st.tuples(ttfts, ttfts),
    gone=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    beta_ttft=st.floats(0.0, 0.95),
    relegate=st.booleans(),
)
def test_of_those_that_lag_and_can_be_in_time_the_next_deadline_comes_first(
    targets_s: tuple[float, float],
    gone: tuple[float, float],
    beta_ttft: float,
    relegate: bool,
) -> None:
    """Whatever their classes, if of one weight."""
    knobs = SchedulerKnobs(beta_ttft=beta_ttft, relegate=relegate)
    reference = SloClass(name="default", ttft_s=targets_s[0], tbt_s=0.1)
    found = []
    for ttft_s, share in zip(targets_s, gone, strict=True):
        targets = Targets.of(SloClass(name="a", ttft_s=ttft_s, tbt_s=0.1), reference)
        lag_s = waiting_lag_s(Candidate("a", targets, 0.0), share * ttft_s, knobs)
        assert (lag_s > 0) == (share * ttft_s > beta_ttft * ttft_s)
        found.append((ttft_s - share * ttft_s, lag_s))
    (slack_s, lag_s), (other_slack_s, other_lag_s) = found
    if lag_s > 0 and other_lag_s > 0 and slack_s < other_slack_s:
        assert lag_s >= other_lag_s


def test_a_patient_backlog_does_not_hold_up_the_hasty() -> None:
    """29 of 30 s gone against half of 1 s: the latter has less time left."""
    hasty = SloClass(name="chat", ttft_s=1.0, tbt_s=0.1)
    patient = SloClass(name="batch", ttft_s=30.0, tbt_s=1.0)
    knobs = SchedulerKnobs()
    chat = Candidate("chat", Targets.of(hasty, hasty), arrival_s=28.4)
    batch = Candidate("batch", Targets.of(patient, hasty), arrival_s=0.0)
    assert waiting_lag_s(chat, 29.0, knobs) > waiting_lag_s(batch, 29.0, knobs) > 0
    assert waiting_lag_s(batch, 29.9, knobs) > waiting_lag_s(chat, 29.0, knobs)


def test_weight_and_own_objectives_count() -> None:
    reference = SloClass(name="chat", ttft_s=4.0, tbt_s=0.1)
    vip = SloClass(name="vip", ttft_s=2.0, tbt_s=0.05, weight=3.0)
    assert Targets.of(reference, reference) == Targets(4.0, 0.1, 1.0, 1.0)
    assert Targets.of(vip, reference).ttft_urgency == 6.0
    assert Targets.of(vip, reference).tbt_urgency == pytest.approx(6.0)
    assert Targets.of(vip, reference, ttft_s=1.0).ttft_urgency == 12.0


@given(now_s=st.floats(0.0, 20.0), early=st.integers(1, 200), credit=st.floats(0.0, 1.0))
def test_credit_is_time_won_and_no_more(now_s: float, early: int, credit: float) -> None:
    """Sitting out the whole credit leaves the mean TBT within its target."""
    knobs = SchedulerKnobs(tbt_credit=credit, relegate=False)
    candidate = Candidate("a", Targets(5.0, 0.1), 0.0, max_tokens=1000)
    candidate.record_tokens(1, 0.0)
    candidate.record_tokens(early, early * 0.02)
    pause_s = now_s - candidate.last_token_s
    assume(pause_s >= 0)
    if rotary_lag_s(candidate, now_s, knobs) == 0.0:
        assert now_s <= candidate.first_token_s + candidate.num_tokens * 0.1 + 1e-9
    else:
        assert pause_s > credit * candidate.ahead_s(candidate.last_token_s) - 1e-9


def test_lost_means_that_instant_tokens_would_not_help() -> None:
    candidate = Candidate("a", Targets(5.0, 0.1), arrival_s=0.0, max_tokens=11)
    assert not is_lost(candidate, 5.0)
    assert is_lost(candidate, 5.1)
    candidate.record_tokens(1, 4.0)
    assert not is_lost(candidate, 4.9)
    assert is_lost(candidate, 5.1), "10 gaps of 0.1 s are over at 5.0"
    late = Candidate("b", Targets(5.0, 0.1), arrival_s=0.0, max_tokens=1000)
    late.record_tokens(1, 6.0)
    assert is_lost(late, 6.0)


@given(
    arrival_s=st.floats(0.0, 100.0),
    ttft_s=ttfts,
    beta_ttft=st.floats(0.0, 0.95),
    ageing=st.floats(0.01, 1.0),
    urgency=st.floats(0.1, 10.0),
)
def test_relegation_is_bounded(
    arrival_s: float, ttft_s: float, beta_ttft: float, ageing: float, urgency: float
) -> None:
    """Past the bound a relegated request lags, with the lag that it would have had all along."""
    knobs = SchedulerKnobs(beta_ttft=beta_ttft, relegation_ageing=ageing)
    relegated = Candidate("old", Targets(ttft_s, 0.1, ttft_urgency=urgency), arrival_s)
    bound_s = relegation_bound_s(relegated, knobs)
    now_s = arrival_s + bound_s * 1.001 + 1e-3
    assert is_lost(relegated, now_s)
    aged_s = waiting_lag_s(relegated, now_s, knobs)
    assert aged_s > 0.0
    plain = knobs.model_copy(update={"relegate": False})
    assert unaged_lag_s(aged_s, relegated, knobs) == pytest.approx(
        waiting_lag_s(relegated, now_s, plain)
    )
    assert waiting_lag_s(relegated, now_s + 1, knobs) > aged_s
    # Until then it lags behind nobody.
    early_s = arrival_s + bound_s * 0.999
    assert not is_lost(relegated, early_s) or waiting_lag_s(relegated, early_s, knobs) == 0.0


def test_relegated_requests_are_within_tolerance_at_first() -> None:
    knobs = SchedulerKnobs()
    candidate = Candidate("a", Targets(5.0, 0.1), arrival_s=0.0)
    assert waiting_lag_s(candidate, 4.99, knobs) == pytest.approx(2.49)
    assert waiting_lag_s(candidate, 5.01, knobs) == 0.0
    assert waiting_lag_s(candidate, 5.01, knobs.model_copy(update={"relegate": False})) > 2.5
    rotated = Candidate("b", Targets(5.0, 0.1), arrival_s=0.0, max_tokens=1000)
    rotated.record_tokens(1, 6.0)
    assert rotary_lag_s(rotated, 7.0, knobs) == 0.0
    assert rotary_lag_s(rotated, 60.0, knobs) > 0.0
