"""The demo's outcome: what is written to demo.json, shown as a table, and judged (pure)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from superinfer_contract.quantity import format_bytes

from superinfer_runtime.bench.report import Report
from superinfer_runtime.demo.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both runs of one load."""

    scenario: Scenario
    request_rate: float
    stock: Report
    rotasched: Report
    activity: dict[str, int]
    """`superinfer_contract.kv_budget.Activity` of the RotaSched run."""
    events: list[dict[str, Any]]
    """The operator's decisions and steps of the RotaSched run."""

    @property
    def budget_steps(self) -> list[dict[str, Any]]:
        """Budget changes that took effect, with the telemetry that led to them."""
        return [
            {key: event[key] for key in ("tier", "from_bytes", "to_bytes", "reason")}
            for event in self.events
            if event["outcome"] == "landed"
        ]

    def shortcomings(self) -> list[str]:
        """What the demo should have shown and did not."""
        found: list[str] = []
        if not (self.activity["rotations_out"] and self.activity["rotations_in"]):
            found.append("no request was rotated")
        if not self.budget_steps:
            found.append("the operator took no budget step")
        if _joint(self.rotasched) <= _joint(self.stock):
            found.append("joint attainment of RotaSched is not above stock's in this run")
        return found

    def to_json(self) -> dict[str, Any]:
        """The machine-readable result."""
        scenario = self.scenario
        return {
            "load": {
                "requests": self.stock.planned,
                "request_rate": self.request_rate,
                "duration_s": scenario.duration_s,
                "burstiness": scenario.burstiness,
                "input_tokens": scenario.input_tokens,
                "output_tokens": scenario.output_tokens,
                "range_ratio": scenario.range_ratio,
                "seed": scenario.seed,
                "hbm_bytes": scenario.hbm_bytes,
                "dram_initial_bytes": scenario.dram_initial_bytes,
                "slo_classes": [
                    {"name": c.name, "share": c.share, "ttft_s": c.ttft_s, "tbt_s": c.tbt_s}
                    for c in scenario.classes
                ],
            },
            "stock": _summary(self.stock),
            "rotasched": _summary(self.rotasched) | self.activity,
            "budget_steps": self.budget_steps,
        }

    def table(self) -> Table:
        """The runs side by side."""
        grid = Table("", "stock vLLM", "RotaSched", title="Same load, same HBM")
        for label, value in _ROWS:
            grid.add_row(label, value(self.stock), value(self.rotasched))
        for number, (load_class, _) in enumerate(self.stock.classes):
            grid.add_row(
                f"joint attainment, {load_class.name}",
                *(
                    _percent(report.classes[number][1].joint_attainment)
                    for report in (self.stock, self.rotasched)
                ),
            )
        activity = self.activity
        grid.add_row(
            "rotations out / in", "-", f"{activity['rotations_out']} / {activity['rotations_in']}"
        )
        moved = activity["bytes_out"] + activity["bytes_in"]
        grid.add_row("KV moved", "-", format_bytes(moved))
        grid.add_row("recompute preemptions", "not counted", str(activity["recompute_preemptions"]))
        return grid


def _joint(report: Report) -> float:
    return report.joint_attainment or 0.0


def _summary(report: Report) -> dict[str, Any]:
    total = report.total
    return {
        "joint_attainment": report.joint_attainment,
        "ttft_attainment": total.ttft_attainment,
        "tbt_attainment": total.tbt_attainment,
        "p50_ttft_s": total.ttft_s.p50 if total.ttft_s else None,
        "p99_ttft_s": total.ttft_s.p99 if total.ttft_s else None,
        "mean_tbt_s": total.tbt_s.mean if total.tbt_s else None,
        "output_tokens_per_s": total.output_tokens / report.duration_s,
        "failed": total.failed,
        "joint_attainment_by_class": {
            load_class.name: summary.joint_attainment for load_class, summary in report.classes
        },
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


_ROWS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("requests (failed)", lambda r: f"{r.total.requests} ({r.total.failed})"),
    ("TTFT P50", lambda r: _seconds(r.total.ttft_s.p50 if r.total.ttft_s else None)),
    ("TTFT P99", lambda r: _seconds(r.total.ttft_s.p99 if r.total.ttft_s else None)),
    ("mean TBT", lambda r: _seconds(r.total.tbt_s.mean if r.total.tbt_s else None)),
    ("output tokens/s", lambda r: f"{r.total.output_tokens / r.duration_s:.0f}"),
    ("TTFT attainment", lambda r: _percent(r.total.ttft_attainment)),
    ("TBT attainment", lambda r: _percent(r.total.tbt_attainment)),
    ("joint attainment", lambda r: _percent(r.joint_attainment)),
)
