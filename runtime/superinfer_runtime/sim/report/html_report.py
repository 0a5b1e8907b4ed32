"""The simulator's reports as self-contained HTML pages: charts, tables, parameters, caveats."""

from collections.abc import Mapping, Sequence
from typing import Any

from superinfer_runtime.sim.report import plots
from superinfer_runtime.sim.report.grids import max_rate_grid, run_grids, sweep_grid
from superinfer_runtime.sim.report.html_page import (
    figure,
    folded,
    heading,
    html_page,
    note,
    parameters_table,
    table,
)
from superinfer_runtime.sim.report.inline_svg import inline_svg
from superinfer_runtime.sim.report.policy_style import DARK_TWINS
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.report.sweep import Sweep
from superinfer_runtime.sim.result import RunResult

CAVEATS = (
    "Simulated on virtual time, not measured on the machine named below.",
    "Operator times are extrapolated from tables measured on an H200.",
)


def sweep_page(sweep: Sweep, title: str) -> str:
    """How the policies fare as the rate rises, by scenario, and the highest rates they hold."""
    parts = _opening(sweep.parameters)
    if sweep.max_rates:
        parts.append(heading("Highest rates"))
        parts += [
            _chart(
                plots.svg(plots.max_rate_figure(sweep, goal)),
                f"Highest rates at {goal * 100:g} % joint attainment",
                f"max{number}",
            )
            for number, goal in enumerate(sweep.goals)
        ]
        parts.append(folded("In numbers", table(max_rate_grid(sweep))))
    for number, scenario in enumerate(sweep.scenarios):
        grid = sweep_grid(sweep, scenario)
        if grid.sections:
            parts += [
                heading(scenario),
                _chart(
                    plots.svg(plots.attainment_figure(sweep, scenario)),
                    grid.title,
                    f"rate{number}",
                ),
                folded("In numbers", table(grid)),
            ]
    return html_page(title, parts)


def run_page(runs: Sequence[RunResult], title: str, parameters: Mapping[str, Any]) -> str:
    """Policies side by side over one workload."""
    parts = _opening(parameters)
    parts += [table(grid) for grid in run_grids([summarize(run) for run in runs])]
    chart = plots.svg(plots.ttft_figure(runs))
    parts.append(_chart(chart, "Time to first token by policy", "ttft"))
    return html_page(title, parts)


def _opening(parameters: Mapping[str, Any]) -> list[str]:
    return [*(note(caveat) for caveat in CAVEATS), parameters_table(parameters)]


def _chart(document: str, label: str, prefix: str) -> str:
    return figure(inline_svg(document, label=label, prefix=f"{prefix}-", colours=DARK_TWINS))
