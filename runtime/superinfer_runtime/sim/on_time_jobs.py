"""How many jobs a preemptive machine can end on time, if a part of a job counts as such a part.

A job consists of pieces of work, each with a window of time. Amounts of work can be done within
their windows exactly if, for every interval, the amounts whose windows lie inside it do not exceed
what the machine does in its length (Hall; any other set of pieces falls apart into such intervals).
These amounts form a polymatroid, so a linear goal is reached greedily (Edmonds, 1970): the count is
linear in the amounts, a second of work counts most in the smallest job, and giving each piece,
those of the smallest job first, all that the ones before it leave is an optimum. Whole jobs on time
are never more.

Invariant: the result never falls when work shrinks or the machine speeds up: windows are widened to
a grid of times, which only adds to it, and the grid does not depend on the work.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_INTERVALS = 256
"""Of the grid; with no more different times it is exact. Running time grows with its square."""
FEW_PIECES = 50
"""So many go one by one; more are tried together first, which saves most of the time."""
SCARCE_S = 1e-9
"""Less room than that is given to every piece that could have it, and still left for others."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Arrays with an element for each piece; times in seconds."""

    release_s: Floats
    deadline_s: Floats
    """After its release."""
    work_s: Floats
    """What it takes at speed 1; 0 takes no time and counts for nothing."""
    job_s: Floats
    """What its whole job takes, above 0."""


def most_on_time(pieces: Pieces, speed: float = 1.0) -> float:
    """Return an upper bound on the jobs of which all pieces end on time.

    Args:
        pieces: of all jobs.
        speed: seconds of work done in a second.
    """
    return _Machine(pieces, speed).take(np.argsort(pieces.job_s, kind="stable"))


class _Machine:
    """Takes work as long as there is time for it."""

    def __init__(self, pieces: Pieces, speed: float) -> None:
        times_s = _grid(np.concatenate([pieces.release_s, pieces.deadline_s]))
        self._work_s = pieces.work_s
        self._value_per_s = 1.0 / pieces.job_s
        self._first = np.searchsorted(times_s, pieces.release_s, side="right") - 1
        self._last = np.searchsorted(times_s, pieces.deadline_s, side="left")
        lengths_s = times_s[np.newaxis, :] - times_s[:, np.newaxis]
        self._left_s = np.where(lengths_s > 0.0, speed * lengths_s, np.inf)
        """Work that still fits between two times, from the row's to the column's."""

    def take(self, pieces: Indices) -> float:
        """Take so much of each of ``pieces``, in order, as fits; return how many jobs that is."""
        room_s = self._room_s(pieces)
        is_scarce = room_s < SCARCE_S
        count = float(room_s[is_scarce] @ self._value_per_s[pieces[is_scarce]])
        pieces = pieces[~is_scarce]
        if len(pieces) <= FEW_PIECES:
            return count + sum(map(self._take_one, pieces))
        left_s = self._left_s - self._inside(pieces)
        if left_s.min(initial=0.0) >= 0.0:
            self._left_s = left_s
            return count + float(self._work_s[pieces] @ self._value_per_s[pieces])
        half = len(pieces) // 2
        return count + self.take(pieces[:half]) + self.take(pieces[half:])

    def _take_one(self, piece: int) -> float:
        around_s = self._left_s[: self._first[piece] + 1, self._last[piece] :]
        taken_s = max(min(float(self._work_s[piece]), float(around_s.min())), 0.0)
        around_s -= taken_s
        return taken_s * float(self._value_per_s[piece])

    def _room_s(self, pieces: Indices) -> Floats:
        """What each piece could have: the least that is left of any interval around its window."""
        least_s: Floats = np.minimum.accumulate(self._left_s, axis=0)
        least_s = np.minimum.accumulate(least_s[:, ::-1], axis=1)[:, ::-1]
        room_s: Floats = least_s[self._first[pieces], self._last[pieces]]
        return np.maximum(room_s, 0.0)

    def _inside(self, pieces: Indices) -> Floats:
        """Work of those whose windows lie between two times."""
        work_s: Floats = np.zeros_like(self._left_s)
        np.add.at(work_s, (self._first[pieces], self._last[pieces]), self._work_s[pieces])
        work_s = np.cumsum(work_s[::-1], axis=0)[::-1]
        inside_s: Floats = np.cumsum(work_s, axis=1)
        return inside_s


def _grid(times_s: Floats) -> Floats:
    """Ascending times from the first to the last, dense where the given ones are."""
    times_s = np.unique(times_s)
    if len(times_s) <= MAX_INTERVALS + 1:
        return times_s
    picked = np.linspace(0, len(times_s) - 1, MAX_INTERVALS + 1).round().astype(int)
    grid_s: Floats = times_s[picked]
    return grid_s
