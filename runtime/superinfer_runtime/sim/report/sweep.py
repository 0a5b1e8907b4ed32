"""A sweep: policies over rates, scenarios and seeds, and the highest rates that each one holds.

What `superinfer simulate` writes, and what tables, plots and pages are made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from superinfer_runtime.sim.report.summary import RunSummary


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One run of a sweep."""

    scenario: str
    policy: str
    rate: float
    """Requests/s offered."""
    seed: int
    summary: RunSummary


@dataclass(frozen=True, slots=True)
class Sweep:
    """Every run of a sweep; order of first appearance is the order of display."""

    points: tuple[SweepPoint, ...]
    max_rates: Mapping[str, Mapping[str, Mapping[float, float]]]
    """By scenario and policy: share of requests that keep both objectives -> highest req/s."""
    parameters: Mapping[str, Any]
    """Everything that the runs depend on, JSON values."""

    @property
    def scenarios(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(point.scenario for point in self.points), *self.max_rates)))

    @property
    def policies(self) -> tuple[str, ...]:
        searched = (policy for rates in self.max_rates.values() for policy in rates)
        return tuple(dict.fromkeys((*(point.policy for point in self.points), *searched)))

    @property
    def goals(self) -> tuple[float, ...]:
        """Joint attainments for which highest rates were sought, ascending."""
        found = {
            goal
            for policies in self.max_rates.values()
            for rates in policies.values()
            for goal in rates
        }
        return tuple(sorted(found))

    def to_dict(self) -> dict[str, Any]:
        """JSON; `from_dict` reads it again."""
        return {
            "parameters": dict(self.parameters),
            "points": [
                {
                    "scenario": point.scenario,
                    "policy": point.policy,
                    "rate": point.rate,
                    "seed": point.seed,
                    "summary": point.summary.to_dict(),
                }
                for point in self.points
            ],
            "max_rates": {
                scenario: {
                    policy: {str(goal): rate for goal, rate in rates.items()}
                    for policy, rates in policies.items()
                }
                for scenario, policies in self.max_rates.items()
            },
        }

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: it is something else; tells where.
        """
        return TypeAdapter(cls).validate_python(data)
