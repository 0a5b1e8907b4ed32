"""The most jobs on time: never fewer than any choice of whole jobs, and no more than need be."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.sim import on_time_jobs
from superinfer_runtime.sim.on_time_jobs import Pieces, most_on_time


@dataclass(frozen=True)
class Piece:
    release_s: float
    deadline_s: float
    work_s: float


Job = tuple[Piece, ...]


def window(start: int, length: int, work_s: float) -> Piece:
    return Piece(float(start), float(start + length), work_s)


pieces = st.builds(window, st.integers(0, 12), st.integers(1, 8), st.sampled_from([0.5, 1.0, 3.0]))
jobs = st.lists(st.tuples(pieces) | st.tuples(pieces, pieces), max_size=7)
unit_jobs = st.lists(
    st.tuples(st.builds(window, st.integers(0, 5), st.integers(1, 3), st.just(1.0))), max_size=8
)
speeds = st.sampled_from([1.0, 2.0])


def bound(listed: Sequence[Job], speed: float = 1.0) -> float:
    flat = [(piece, sum(each.work_s for each in job)) for job in listed for piece in job]
    return most_on_time(
        Pieces(
            np.array([piece.release_s for piece, _ in flat]),
            np.array([piece.deadline_s for piece, _ in flat]),
            np.array([piece.work_s for piece, _ in flat]),
            np.array([job_s for _, job_s in flat]),
        ),
        speed,
    )


def fit(listed: Sequence[Job], speed: float) -> bool:
    """Whether all end on time: no interval is given more than it holds."""
    flat = [piece for job in listed for piece in job]
    for start_s in {piece.release_s for piece in flat}:
        for end_s in {piece.deadline_s for piece in flat}:
            inside = [p for p in flat if p.release_s >= start_s and p.deadline_s <= end_s]
            if inside and sum(piece.work_s for piece in inside) > speed * (end_s - start_s):
                return False
    return True


def best_choice(listed: Sequence[Job], speed: float) -> int:
    """The most whole jobs that fit together, by trying all choices."""
    sizes = range(len(listed), 0, -1)
    return next(
        (n for n in sizes if any(fit(chosen, speed) for chosen in combinations(listed, n))), 0
    )


@given(jobs, speeds)
def test_no_choice_of_jobs_beats_it(listed: list[Job], speed: float) -> None:
    assert best_choice(listed, speed) <= bound(listed, speed) + 1e-9 <= len(listed) + 2e-9


@given(unit_jobs, speeds)
def test_with_unit_jobs_it_is_the_best_choice(listed: list[Job], speed: float) -> None:
    """Where parts of jobs bring nothing, nothing is given away."""
    assert bound(listed, speed) == pytest.approx(best_choice(listed, speed))


@given(jobs, speeds, st.integers(1, 4))
def test_a_coarser_grid_only_adds(listed: list[Job], speed: float, intervals: int) -> None:
    exact = bound(listed, speed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_time_jobs, "MAX_INTERVALS", intervals)
        assert bound(listed, speed) >= exact - 1e-9


@settings(max_examples=60)
@given(st.lists(st.tuples(pieces, pieces), min_size=1, max_size=40), speeds)
def test_trying_many_together_changes_nothing(listed: list[Job], speed: float) -> None:
    together = bound(listed, speed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_time_jobs, "FEW_PIECES", 10_000)
        assert together == pytest.approx(bound(listed, speed))


@given(jobs, st.floats(0.1, 1.0), st.floats(1.0, 3.0))
def test_less_work_or_more_speed_never_lowers_it(
    listed: list[Job], less: float, speed: float
) -> None:
    base = bound(listed)
    lighter = [tuple(Piece(p.release_s, p.deadline_s, less * p.work_s) for p in j) for j in listed]
    assert bound(lighter) >= base - 1e-9
    assert bound(listed, speed) >= base - 1e-9


def test_a_long_job_gives_way_to_short_ones_and_counts_in_part() -> None:
    long = (window(0, 10, 8.0),)
    short = [(window(start, 5, 2.0),) for start in (0, 5)]
    assert bound([long, *short]) == pytest.approx(2 + 6 / 8)


def test_a_part_that_is_late_does_not_count() -> None:
    """Of the prompt only half is possible, whatever time there is for the answer."""
    assert bound([(window(0, 1, 2.0), window(0, 100, 2.0))]) == pytest.approx(3 / 4)
