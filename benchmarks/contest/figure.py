"""A result file as a chart: attainment and tokens/s against the rate, a row a setting.

A setting that was run at one rate only has no curve and is left to the table.
"""

from collections.abc import Sequence
from typing import Any

from contest.table import Row, by_setting, place
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from superinfer_runtime.sim.report.policy_style import Style, policy_styles

_PANELS = (
    ("TTFT in time, %", "ttft_attainment", 100.0),
    ("TBT in time (request mean), %", "tbt_attainment", 100.0),
    ("both, %", "joint_attainment", 100.0),
    ("tokens/s", "tokens_per_s", 1.0),
)


def contest_figure(result: dict[str, Any]) -> Figure:
    """Each engine in the look that it has in the simulator's charts."""
    groups = {
        title: rows
        for title, rows in by_setting(result["runs"]).items()
        if len({row["rate"] for row in rows}) > 1
    }
    styles = policy_styles(row["engine"] for row in result["runs"])
    figure = Figure(figsize=(13, 3.2 * len(groups)), constrained_layout=True)
    grid = figure.subplots(len(groups), len(_PANELS), squeeze=False)
    for axes_of_row, (title, rows) in zip(grid, groups.items(), strict=True):
        for axes, panel in zip(axes_of_row, _PANELS, strict=True):
            _panel(axes, rows, panel, styles)
        axes_of_row[0].set_title(f"{result['device']}: {title}", loc="left", fontsize=9)
        axes_of_row[0].legend(frameon=False, fontsize=8)
    return figure


def _panel(
    axes: Axes, rows: Sequence[Row], panel: tuple[str, str, float], styles: dict[str, Style]
) -> None:
    name, key, factor = panel
    for engine in sorted({row["engine"] for row in rows}, key=place):
        points = sorted((row["rate"], factor * row[key]) for row in rows if row["engine"] == engine)
        style = styles[engine]
        axes.plot(
            [rate for rate, _ in points],
            [value for _, value in points],
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            label=engine,
        )
    axes.set_xlabel("request rate, req/s")
    axes.set_ylabel(name)
    axes.set_ylim(bottom=0, top=103 if factor > 1 else None)
    axes.grid(visible=True, alpha=0.3)
