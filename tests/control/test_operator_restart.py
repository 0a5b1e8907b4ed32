"""When a crashed runtime is started again."""

from hypothesis import given
from hypothesis import strategies as st
from superinfer_operator.restart import RestartRule, backoff_s, count_quick, gives_up

RULE = RestartRule(first_pause_s=1, longest_pause_s=30, max_quick_crashes=5, quick_s=60)


def test_pauses_double_up_to_the_longest() -> None:
    assert [backoff_s(RULE, n) for n in range(8)] == [1, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(0, 10_000))
def test_a_pause_is_always_within_bounds(crashes: int) -> None:
    assert 1 <= backoff_s(RULE, crashes) <= backoff_s(RULE, crashes + 1) <= 30


def test_only_quick_crashes_in_a_row_count() -> None:
    assert count_quick(RULE, 3, lifetime_s=1) == 4
    assert count_quick(RULE, 3, lifetime_s=60) == 0
    assert [gives_up(RULE, n) for n in (4, 5)] == [False, True]
