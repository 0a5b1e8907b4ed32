"""One load, served by the real server and by the simulator, figure beside figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cpu_simulation import Calibration, simulated
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.sim.machine.measured_steps import StepObservation, fit
from superinfer_runtime.sim.report.accuracy import Comparison, compare


@dataclass(frozen=True, slots=True)
class ServedTwice:
    """See the module's text."""

    policy: str
    load: str
    request_rate: float
    requests: int
    failed: int
    step_time_ratio: float
    """What the real steps took to what the calibrated costs expect of the same steps."""
    comparisons: Mapping[str, Comparison]
    hindsight: Mapping[str, Comparison]
    """With costs fitted to the steps of this very load."""

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "load": self.load,
            "request_rate": self.request_rate,
            "requests": self.requests,
            "failed": self.failed,
            "step_time_ratio": self.step_time_ratio,
            "figures": _figures(self.comparisons),
            "hindsight": _figures(self.hindsight),
        }


def serve_again(
    policy: str,
    name: str,
    load: Workload,
    report: Report,
    calibration: Calibration,
    steps: Sequence[StepObservation],
) -> ServedTwice:
    """Simulate what was really served; ``steps`` are those of the real server meanwhile."""
    assert load.request_rate is not None
    expected_s = sum(map(calibration.fit.costs.expected_s, steps))
    return ServedTwice(
        policy,
        name,
        load.request_rate,
        report.total.requests,
        report.total.failed,
        step_time_ratio=sum(step.step_s for step in steps) / expected_s,
        comparisons=_compared(policy, load, report, calibration),
        hindsight=_compared(policy, load, report, replace(calibration, fit=fit(steps))),
    )


def _compared(
    policy: str, load: Workload, report: Report, calibration: Calibration
) -> dict[str, Comparison]:
    summary, last_s = simulated(load, policy, calibration)
    return compare(
        report.total,
        report.total.output_tokens / report.duration_s,
        summary.total,
        summary.total.output_tokens / last_s,
    )


def _figures(comparisons: Mapping[str, Comparison]) -> dict[str, dict[str, float]]:
    return {
        name: {"real": c.real, "simulated": c.simulated, "error": c.error}
        for name, c in comparisons.items()
    }
