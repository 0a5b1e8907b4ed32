import math
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.bench.arrivals import ArrivalProcess, arrivals

processes = st.sampled_from(ArrivalProcess)
rates = st.floats(0.01, 1000)
shapes = st.floats(0.1, 10)


@given(processes, rates, shapes, st.integers())
def test_arrivals_are_sorted_and_not_negative(
    process: ArrivalProcess, rate: float, shape: float, seed: int
) -> None:
    times = list(islice(arrivals(process, rate, shape, Random(seed)), 50))
    assert times[0] >= 0
    assert times == sorted(times)


@settings(max_examples=20)
@given(processes, rates, st.floats(0.5, 10), st.integers(0, 1000))
def test_the_rate_is_the_one_asked_for(
    process: ArrivalProcess, rate: float, shape: float, seed: int
) -> None:
    count = 4000
    last_s = next(islice(arrivals(process, rate, shape, Random(seed)), count - 1, None))
    # The sum's relative deviation is 1/sqrt(count x shape), at most 2.3 %; six of those never fail.
    assert count / last_s == pytest.approx(rate, rel=0.14)


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_burstiness_is_the_gamma_shape(shape: float) -> None:
    times = list(islice(arrivals(ArrivalProcess.GAMMA, 10, shape, Random(1)), 20_000))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation / mean == pytest.approx(1 / math.sqrt(shape), rel=0.05)


def test_gamma_with_burstiness_one_is_poisson() -> None:
    poisson, gamma = (
        list(islice(arrivals(process, 3, 1.0, Random(7)), 10))
        for process in (ArrivalProcess.POISSON, ArrivalProcess.GAMMA)
    )
    assert poisson == gamma


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    times = list(islice(arrivals(ArrivalProcess.CONSTANT, 4, 1, Random(0)), 4))
    assert times == [0, 0.25, 0.5, 0.75]
