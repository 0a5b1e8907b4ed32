"""What `superinfer simulate` was asked for: every policy at every rate, and searches beside it."""

from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from superinfer_runtime.sim.evaluation.case import Case
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.evaluation.sweep_runner import Search


@dataclass(frozen=True, slots=True)
class SearchRange:
    """Joint attainments to reach, 0..1, and the rates to try, requests/s; see `max_rate`."""

    goals: tuple[float, ...]
    low: float
    high: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Study:
    """On each of the setup's scenarios."""

    setup: Setup
    policies: tuple[str, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    search: SearchRange

    @property
    def cases(self) -> tuple[Case, ...]:
        by_rate = product(self.setup.scenarios, self.rates, self.policies, self.seeds)
        return tuple(Case(scenario, policy, rate, seed) for scenario, rate, policy, seed in by_rate)

    @property
    def searches(self) -> tuple[Search, ...]:
        if not self.search.goals:
            return ()
        return tuple(
            Search(scenario, policy, self.seeds, **asdict(self.search))
            for scenario, policy in product(self.setup.scenarios, self.policies)
        )

    @property
    def compares_runs(self) -> bool:
        """Whether the policies share one workload, so that their runs can be laid side by side."""
        return len(self.cases) == len(self.policies) and not self.searches

    def parameters(self) -> dict[str, Any]:
        """Everything that the runs depend on, as JSON values."""
        return {
            **self.setup.parameters(),
            "policies": self.policies,
            "rates": self.rates,
            "seeds": self.seeds,
            "search": asdict(self.search) if self.searches else None,
        }
