"""The report's tables on a terminal, in the style of `superinfer bench`; 100 columns suffice."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from superinfer_runtime.sim.report.grids import Grid, max_rate_grid, run_grids, sweep_grid
from superinfer_runtime.sim.report.summary import RunSummary
from superinfer_runtime.sim.report.sweep import Sweep


def run_tables(runs: Sequence[RunSummary]) -> RenderableType:
    """Policies side by side over one workload."""
    return Group(*(_table(grid) for grid in run_grids(runs)))


def sweep_tables(sweep: Sweep) -> RenderableType:
    """One table per scenario, rate by rate, then the highest rates if they were sought."""
    grids = [sweep_grid(sweep, scenario) for scenario in sweep.scenarios]
    if sweep.max_rates:
        grids.append(max_rate_grid(sweep))
    return Group(*(_table(grid) for grid in grids if grid.sections))


def max_rate_table(sweep: Sweep) -> RenderableType:
    """The highest rates that each policy holds."""
    return _table(max_rate_grid(sweep))


def _table(grid: Grid) -> Table:
    table = Table(
        title=Text(grid.title),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for number, heading in enumerate(grid.columns):
        if number < grid.labels:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right")
    for rows in grid.displayed():
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        table.add_section()
    return table
