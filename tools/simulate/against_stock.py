"""RotaSched beside stock vLLM on every scenario, from below the load that stock holds to far above.

Rates are multiples of a scenario's knee, about the highest rate at which stock vLLM keeps 90 % of
requests within both objectives on this deployment, as searches found it.
Beside both stands the share that no scheduler exceeds (`sim.offline_bound`), where it is known.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from superinfer_runtime.sim.evaluation.case import Case, Outcome
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.offline_bound import joint_bound

KNEES = {
    "short-chat": 16.5,
    "bursty": 16.75,
    "reasoning": 2.16,
    "two-classes": 9.19,
    "sessions": 19.25,
    "sharegpt": 2.38,
    "azure-conv": 6.38,
    "mooncake": 0.5,
    "servegen": 2.25,
}
"""Requests/s. Mooncake's is assumed: there stock misses 90 % at any rate."""
MULTIPLES = (0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
POLICIES = ("stock", "rotasched")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Joint attainment of both, by the same requests."""

    scenario: str
    multiple: float
    rate: float
    stock: float
    rotasched: float
    bound: float | None


def cases(scenarios: Sequence[str], seed: int) -> list[Case]:
    """Every run; those of one load stand side by side."""
    return [
        Case(scenario, policy, rate_of(scenario, multiple), seed)
        for scenario in scenarios
        for multiple in MULTIPLES
        for policy in POLICIES
    ]


def rate_of(scenario: str, multiple: float) -> float:
    return round(KNEES[scenario] * multiple, 2)


def compared(setup: Setup, outcomes: Sequence[Outcome]) -> list[Comparison]:
    """Pair what `cases` gave."""
    attained = {
        (one.point.scenario, one.point.rate, one.point.policy): one.point for one in outcomes
    }
    found = []
    for scenario in dict.fromkeys(one.point.scenario for one in outcomes):
        for multiple in MULTIPLES:
            rate = rate_of(scenario, multiple)
            stock, ours = (attained[scenario, rate, policy] for policy in POLICIES)
            found.append(
                Comparison(
                    scenario,
                    multiple,
                    rate,
                    stock.summary.total.joint_attainment,
                    ours.summary.total.joint_attainment,
                    _bound(setup, scenario, rate, ours.seed),
                )
            )
    return found


def _bound(setup: Setup, scenario: str, rate: float, seed: int) -> float | None:
    known = setup.scenarios[scenario]
    requests = known.make(rate, setup.duration_s, seed)
    if any(request.next_turn is not None for request in requests):
        return None
    return joint_bound(requests, known.classes, setup.deployment)


def rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """As JSON values."""
    return [asdict(one) for one in comparisons]
