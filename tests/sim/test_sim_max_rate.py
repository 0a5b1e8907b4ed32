import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.sim.report.max_rate import max_rate

LOW, HIGH = 0.5, 64.0


class Trials:
    """Attainment that falls from 1 to 0 around a rate, with noise; remembers what was tried."""

    def __init__(self, knee: float, noise: float = 0.0, seed: int = 0) -> None:
        self.knee = knee
        self.noise = noise
        self.seed = seed
        self.seen: dict[float, float] = {}

    def expected(self, rate: float) -> float:
        return 1 / (1 + (rate / self.knee) ** 4)

    def __call__(self, rate: float) -> float:
        assert rate not in self.seen, "no rate is worth a second simulation"
        swing = math.sin(1e4 * rate + self.seed)
        self.seen[rate] = self.expected(rate) + self.noise * swing
        return self.seen[rate]


any_knee = st.floats(0.01, 1000)
any_goal = st.floats(0.05, 0.99)
any_tolerance = st.floats(0.01, 5)


@given(any_knee, any_goal, any_tolerance, st.floats(0, 0.2), st.integers(0, 100))
def test_the_rate_found_was_seen_to_hold_and_one_just_above_to_fail(
    knee: float, goal: float, tolerance: float, noise: float, seed: int
) -> None:
    trials = Trials(knee, noise, seed)
    found = max_rate(trials, goal, LOW, HIGH, tolerance)
    missed = [rate for rate, attained in trials.seen.items() if attained < goal]
    if found == 0:
        assert missed == [LOW] == list(trials.seen)
    else:
        assert trials.seen[found] >= goal
        assert trials.expected(found) >= goal - noise
        if found == HIGH:
            assert not missed
        else:
            assert found < min(missed) <= found + tolerance
            assert trials.expected(found + tolerance) < goal + noise


@given(any_knee, any_goal, any_tolerance)
def test_few_rates_are_tried_and_all_within_bounds(
    knee: float, goal: float, tolerance: float
) -> None:
    trials = Trials(knee)
    max_rate(trials, goal, LOW, HIGH, tolerance)
    assert len(trials.seen) <= 2 + math.log2(HIGH / LOW) + math.log2(HIGH / tolerance)
    assert all(LOW <= rate <= HIGH for rate in trials.seen)


@given(st.floats(1, 50), any_goal)
def test_overload_is_tried_no_further_than_twice_the_answer(knee: float, goal: float) -> None:
    trials = Trials(knee)
    found = max_rate(trials, goal, LOW, HIGH, 0.1)
    assert max(trials.seen) <= max(2 * (found + 0.1), LOW)


@pytest.mark.parametrize(
    ("low", "high", "tolerance"), [(0, 1, 0.1), (2, 1, 0.1), (1, 1, 0.1), (1, 2, 0), (1, 2, 1e-17)]
)
def test_bounds_that_make_no_sense_are_refused(low: float, high: float, tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"rates must be|tolerance"):
        max_rate(lambda rate: 1.0, 0.9, low, high, tolerance)
