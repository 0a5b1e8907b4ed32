"""One run of an evaluation: a workload at a rate, one policy, one seed."""

from dataclasses import dataclass
from enum import Enum, auto

from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.policies import policy_named
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.report.sweep import SweepPoint
from superinfer_runtime.sim.result import RunResult
from superinfer_runtime.sim.simulation import simulate


class CaseError(ValueError):
    """A case cannot be run; the message is one line that names it."""


class Keep(Enum):
    """How much of a run is kept beside its figures."""

    FIGURES = auto()
    RECORDS = auto()
    """Every request."""
    TIMELINE = auto()
    """Every request, step and copy."""


@dataclass(frozen=True, slots=True)
class Case:
    """A key: equal cases of one setup give the same run."""

    scenario: str
    policy: str
    rate: float
    """Requests/s."""
    seed: int

    def __str__(self) -> str:
        return f"{self.scenario}, {self.policy}, {self.rate:g} req/s, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case; ``run`` None: only its figures were kept."""

    point: SweepPoint
    run: RunResult | None = None


def run_case(setup: Setup, case: Case, keep: Keep = Keep.FIGURES) -> Outcome:
    """Simulate one case.

    Raises:
        CaseError: its trace is absent, no request arrives, or one can never run.
    """
    try:
        scenario, policy = setup.scenarios[case.scenario], policy_named(case.policy)
        requests = scenario.make(case.rate, setup.duration_s, case.seed)
        run = simulate(
            requests,
            scenario.classes,
            setup.deployment,
            policy,
            timeline=keep is Keep.TIMELINE,
        )
    except ValueError as error:
        raise CaseError(f"{case}: {error}") from error
    except Exception as error:
        error.add_note(f"while simulating {case}")
        raise
    point = SweepPoint(case.scenario, case.policy, case.rate, case.seed, summarize(run))
    return Outcome(point, None if keep is Keep.FIGURES else run)
