"""Grids of runs and searches for the highest rates, in parallel, with one answer whatever is first.

A search is sequential: what it tries next depends on what it saw. So each goal of each has a thread
that only waits, and the runs of all share the worker processes. Goals, grid points and repeated
rates share runs, because the pool runs no case twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count
from statistics import fmean
from threading import Lock
from typing import Any

from superinfer_runtime.sim.evaluation.case import Case, Keep, Outcome
from superinfer_runtime.sim.evaluation.pool import SimulationPool
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.report.max_rate import max_rate
from superinfer_runtime.sim.report.sweep import Sweep


@dataclass(frozen=True, slots=True)
class Search:
    """The highest rates of one policy on one workload; see `max_rate`."""

    scenario: str
    policy: str
    seeds: tuple[int, ...]
    """The mean over their runs counts."""
    goals: tuple[float, ...]
    """Joint attainments to reach, 0..1."""
    low: float
    high: float
    tolerance: float
    """Requests/s, as ``low`` and ``high``."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is; searches submit runs as they go on."""

    ended_runs: int
    submitted_runs: int
    last: Case


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of all cases, in their order, and of all searches."""

    outcomes: tuple[Outcome, ...]
    max_rates: Mapping[str, Mapping[str, Mapping[float, float]]]
    """As in `Sweep`."""

    def sweep(self, parameters: Mapping[str, Any]) -> Sweep:
        points = tuple(outcome.point for outcome in self.outcomes)
        return Sweep(points, self.max_rates, parameters)


def evaluate(
    setup: Setup,
    cases: Sequence[Case],
    searches: Sequence[Search] = (),
    *,
    workers: int,
    keep: Keep = Keep.FIGURES,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Evaluation:
    """Run everything; the same for any number of workers.

    Args:
        setup: what all runs have in common.
        cases: runs of a grid.
        searches: for highest rates; their runs are not among the outcomes.
        workers: processes.
        keep: what is kept of each run.
        on_progress: called after each run, in any thread, one call at a time.

    Raises:
        CaseError: a case cannot be run. The others are given up.
        BrokenProcessPool: a worker process died.
    """
    ended, one_call = count(1), Lock()

    def on_end(case: Case) -> None:
        with one_call:
            on_progress(Progress(next(ended), pool.num_submitted, case))

    goals = [(search, goal) for search in searches for goal in search.goals]
    # The pool is left first: on an error it ends what the threads wait for.
    with (
        ThreadPoolExecutor(max(len(goals), 1)) as threads,
        SimulationPool(setup, workers, keep, on_end) as pool,
    ):
        runs = [pool.submit(case) for case in cases]
        found = [threads.submit(_found, pool, search, goal) for search, goal in goals]
        _raise_first_error([*runs, *found])
        outcomes = tuple(run.result() for run in runs)
    max_rates: dict[str, dict[str, dict[float, float]]] = {}
    for (search, goal), rate in zip(goals, found, strict=True):
        by_policy = max_rates.setdefault(search.scenario, {})
        by_policy.setdefault(search.policy, {})[goal] = rate.result()
    return Evaluation(outcomes, max_rates)


def open_ends(evaluation: Evaluation, searches: Sequence[Search]) -> Iterator[str]:
    """Say where the range of a search was too narrow for its answer."""
    for search in searches:
        for goal, rate in evaluation.max_rates[search.scenario][search.policy].items():
            where = f"{search.scenario}, {search.policy}, {goal * 100:g} %"
            if rate == 0:
                yield f"{where}: missed at the lowest rate already, {search.low:g} req/s"
            elif rate == search.high:
                yield f"{where}: held up to the highest rate, {search.high:g} req/s"


def _found(pool: SimulationPool, search: Search, goal: float) -> float:
    def attained(rate: float) -> float:
        runs = [
            pool.submit(Case(search.scenario, search.policy, rate, seed)) for seed in search.seeds
        ]
        return fmean(run.result().point.summary.total.joint_attainment for run in runs)

    return max_rate(attained, goal, search.low, search.high, search.tolerance)


def _raise_first_error(futures: Sequence[Future[Any]]) -> None:
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        if future in done:
            future.result()
