"""The two measured budgets: blocks that may rotate, and tokens that a step may carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.policy.smoothing import smoothed
from superinfer_runtime.policy.token_budget import TokenBudgetGuard
from superinfer_runtime.policy.transfer_budget import TransferBudget

MIB = 1 << 20


def test_transfer_budget_is_window_times_the_slower_direction() -> None:
    budget = TransferBudget(block_bytes=4 * MIB)
    budget.record_step(0.05)
    budget.record_transfer(out=True, num_bytes=180 * 1024 * MIB, busy_s=1.0)
    budget.record_transfer(out=False, num_bytes=90 * 1024 * MIB, busy_s=1.0)
    assert budget.blocks() == int(0.05 * 90 * 1024 / 4)
    assert budget.blocks(in_flight_blocks=1000) == budget.blocks() - 1000
    assert budget.blocks(in_flight_blocks=10**6) == 0


def test_a_calibrated_link_has_its_budget_from_the_first_step_on() -> None:
    budget = TransferBudget(block_bytes=4 * MIB)
    budget.record_step(0.05)
    gib = 1024 * MIB
    budget.calibrate(
        out_bytes_per_s=50 * gib, in_bytes_per_s=40 * gib, duplex_bytes_per_s=100 * gib
    )
    assert budget.blocks() == 0.05 * 40 * 1024 / 4
    for _ in range(100):
        budget.record_transfer(out=False, num_bytes=30 * gib, busy_s=1.0)
    assert budget.blocks() == int(0.05 * 30 * 1024 / 4)


def test_what_both_directions_share_bounds_each() -> None:
    budget = TransferBudget(block_bytes=4 * MIB)
    budget.record_step(0.05)
    gib = 1024 * MIB
    budget.calibrate(out_bytes_per_s=50 * gib, in_bytes_per_s=40 * gib, duplex_bytes_per_s=60 * gib)
    for _ in range(100):
        budget.record_transfer(out=True, num_bytes=90 * gib, busy_s=1.0)
        budget.record_transfer(out=False, num_bytes=90 * gib, busy_s=1.0)
    assert budget.blocks() == 0.05 * 30 * 1024 / 4


def test_before_anything_is_measured_one_block_at_a_time() -> None:
    budget = TransferBudget(block_bytes=MIB)
    assert budget.blocks() == 1
    assert budget.blocks(in_flight_blocks=1) == 0
    budget.record_transfer(out=True, num_bytes=MIB, busy_s=0.0)
    budget.record_transfer(out=True, num_bytes=0, busy_s=1.0)
    assert budget.out_bytes_per_s is None, "copies too short to time say nothing"


def test_the_users_constant_wins() -> None:
    budget = TransferBudget(block_bytes=MIB, fixed_blocks=2400)
    budget.record_step(0.05)
    budget.record_transfer(out=True, num_bytes=MIB, busy_s=1.0)
    assert budget.blocks() == 2400
    assert budget.blocks(in_flight_blocks=2000) == 400


@given(
    step_s=st.floats(1e-4, 10.0),
    rates=st.tuples(st.floats(1.0, 1e12), st.floats(1.0, 1e12)),
    block_bytes=st.integers(1, 1 << 24),
    in_flight=st.integers(0, 1 << 20),
)
def test_transfer_budget_never_blocks_an_idle_link(
    step_s: float, rates: tuple[float, float], block_bytes: int, in_flight: int
) -> None:
    budget = TransferBudget(block_bytes)
    budget.record_step(step_s)
    for out, rate in zip((True, False), rates, strict=True):
        budget.record_transfer(out=out, num_bytes=max(int(rate), 1), busy_s=1.0)
    assert budget.blocks() >= 1
    assert 0 <= budget.blocks(in_flight) <= budget.blocks()


def guard_that_learned(decode_s: float, prefill_token_s: float) -> TokenBudgetGuard:
    guard = TokenBudgetGuard()
    guard.record_step(decode_s, 0)
    guard.record_step(decode_s + 1000 * prefill_token_s, 1000)
    return guard


def test_prefill_share_keeps_the_step_within_the_tightest_target() -> None:
    guard = guard_that_learned(decode_s=0.04, prefill_token_s=0.0001)
    assert guard.token_budget(0.1, num_decodes=30, max_tokens=8192) == pytest.approx(430, abs=1)
    assert guard.token_budget(None, num_decodes=0, max_tokens=8192) == 8192


@given(
    decode_s=st.floats(0.001, 0.5),
    prefill_token_s=st.floats(1e-6, 0.01),
    tbt_s=st.floats(0.001, 2.0),
    num_decodes=st.integers(0, 1000),
    max_tokens=st.integers(1, 1 << 14),
)
def test_prefill_never_stops_and_the_engines_limit_holds(
    decode_s: float, prefill_token_s: float, tbt_s: float, num_decodes: int, max_tokens: int
) -> None:
    guard = guard_that_learned(decode_s, prefill_token_s)
    tokens = guard.token_budget(tbt_s, num_decodes, max_tokens)
    assert min(num_decodes + guard.min_prefill_tokens, max_tokens) <= tokens <= max_tokens
    prefill = tokens - num_decodes
    if prefill > guard.min_prefill_tokens:
        assert decode_s + prefill * prefill_token_s <= tbt_s * 0.8 + 1e-6


def test_a_guard_limits_from_the_first_prefill_on() -> None:
    """Before steps differ, all of a step counts as its prefill's cost, which is careful."""
    guard = TokenBudgetGuard()
    for _ in range(20):
        guard.record_step(0.8, 8192)
    assert guard.token_budget(0.2, num_decodes=5, max_tokens=8192) <= 5 + 1700


def test_a_guard_follows_steps_that_get_longer() -> None:
    """Decodes slow down without any step that shows them alone."""
    guard = guard_that_learned(decode_s=0.02, prefill_token_s=0.0001)
    for index in range(200):
        prefill = 200 + 100 * (index % 5)
        guard.record_step(0.05 + prefill * 0.0001, prefill)
    budget = guard.token_budget(0.1, num_decodes=0, max_tokens=8192)
    assert 0.05 + budget * 0.0001 == pytest.approx(0.08, rel=0.1)


def test_a_guard_that_knows_nothing_limits_nothing() -> None:
    guard = TokenBudgetGuard()
    guard.record_step(0.04, 0)
    assert guard.token_budget(0.001, num_decodes=5, max_tokens=2048) == 2048
    guard.record_step(0.04, 8)
    assert guard.prefill_token_s is None, "too few tokens to tell their cost from noise"


@given(start=st.floats(0.0, 1e6), values=st.lists(st.floats(0.0, 1e6), min_size=1))
def test_smoothing_stays_within_what_was_measured(start: float, values: list[float]) -> None:
    average = smoothed(None, start)
    assert average == start
    for value in values:
        average = smoothed(average, value)
    seen = [start, *values]
    assert min(seen) <= average + 1e-6
    assert average <= max(seen) + 1e-6


def test_smoothing_follows_a_change() -> None:
    average = 1.0
    for _ in range(50):
        average = smoothed(average, 2.0)
    assert average == pytest.approx(2.0, abs=0.01)
