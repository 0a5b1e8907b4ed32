"""A plan as people read it on a terminal, and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from superinfer_contract.quantity import format_bytes
from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.planning.search import Prediction, Provision, Recommendation
from superinfer_runtime.sim.report.attainment import Attainment
from superinfer_runtime.sim.report.grids import NO_FIGURE, share


@dataclass(frozen=True, slots=True)
class PlanReport:
    """All that `superinfer plan` found out."""

    service: str
    setting: Mapping[str, Any]
    """What was simulated, JSON values."""
    classes: Sequence[SloClass]
    recommendation: Recommendation
    notes: Sequence[str]
    diff: str
    """The change to the service's file; empty if it is to stay."""

    def to_dict(self) -> dict[str, Any]:
        """JSON. Shares are 0..1; ``sure``: the interval lies on one side of the target."""
        found = self.recommendation
        return {
            "service": self.service,
            "setting": dict(self.setting),
            "meets_targets_as_written": found.meets_as_written,
            "recommendation_meets_targets": found.recommended.meets_targets,
            "as_written": None if found.as_written is None else self._prediction(found.as_written),
            "recommended": self._prediction(found.recommended),
            "simulations": found.num_simulations,
            "notes": list(self.notes),
            "diff": self.diff,
        }

    def _prediction(self, prediction: Prediction) -> dict[str, Any]:
        provision = prediction.provision
        return {
            "replicas": provision.replicas,
            "hbm_bytes": provision.hbm_bytes,
            "dram_bytes": provision.dram_bytes,
            "transfer_budget_blocks": provision.transfer_budget_blocks,
            "meets_targets": prediction.meets_targets,
            "classes": {
                slo_class.name: _attainment(prediction.attainments[slo_class.name], slo_class)
                for slo_class in self.classes
            },
        }


def plan_tables(report: PlanReport) -> RenderableType:
    """Attainments by class, what is given, the verdict, and what a reader must know besides."""
    found = report.recommendation
    columns = [("as written", found.as_written)]
    if found.recommended != found.as_written:
        columns.append(("recommended" if found.changes_something else "at most", found.recommended))
    return Group(
        _attainments(report.classes, columns),
        _provisions(columns),
        Text(_verdict(found)),
        *(Text(f"- {note}") for note in report.notes),
    )


def _verdict(found: Recommendation) -> str:
    if not found.recommended.meets_targets:
        return "Misses its targets, and nothing within the bounds meets them."
    if not found.meets_as_written:
        return "Misses its targets as written; what is recommended meets them."
    if found.changes_something:
        return "Meets its targets as written; what is recommended meets them with less."
    return "Meets its targets as written."


def _attainments(
    classes: Sequence[SloClass], columns: Sequence[tuple[str, Prediction | None]]
) -> Table:
    table = _table("Requests that meet TTFT and TBT")
    for heading in ("target", "requests", *(name for name, _ in columns)):
        table.add_column(heading, justify="right")
    for slo_class in classes:
        requests = next(
            (p.attainments[slo_class.name].requests for _, p in columns if p is not None), 0
        )
        table.add_row(
            slo_class.name,
            share(slo_class.target),
            f"{requests:,}",
            *(_cell(prediction, slo_class.name) for _, prediction in columns),
        )
    return table


def _provisions(columns: Sequence[tuple[str, Prediction | None]]) -> Table:
    table = _table("What the service is given")
    for heading in ("replicas", "HBM for KV", "DRAM for KV", "transfer budget"):
        table.add_column(heading, justify="right")
    for name, prediction in columns:
        cells = (NO_FIGURE,) * 4 if prediction is None else tuple(_cells(prediction.provision))
        table.add_row(name, *cells)
    return table


def _cells(provision: Provision) -> Iterator[str]:
    yield str(provision.replicas)
    yield format_bytes(provision.hbm_bytes)
    yield format_bytes(provision.dram_bytes) if provision.dram_bytes else "none"
    blocks = provision.transfer_budget_blocks
    yield "measured" if blocks is None else f"{blocks} blocks"


def _cell(prediction: Prediction | None, class_name: str) -> str:
    if prediction is None or not prediction.attainments[class_name].requests:
        return NO_FIGURE
    found = prediction.attainments[class_name]
    return f"{share(found.share)} ({share(found.low)} to {share(found.high)})"


def _attainment(found: Attainment, slo_class: SloClass) -> dict[str, Any]:
    return {
        "target": slo_class.target,
        "requests": found.requests,
        "joint_attainment": found.share if found.requests else None,
        "low": found.low,
        "high": found.high,
        "sure": found.sure(slo_class.target),
    }


def _table(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    table.add_column("")
    return table
