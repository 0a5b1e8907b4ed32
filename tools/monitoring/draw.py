"""Draws the dashboards of a short real run into docs/images/, from the dashboards' own queries.

    PYTHONPATH=tests/testbed:tools/cluster:tools/monitoring python tools/monitoring/draw.py

There is no Grafana in this: panels stand where the JSON puts them, and each line is what a real
Prometheus answers. The operator and vLLM (embedded model, on this CPU) run as in `make cluster`.
"""

import asyncio
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
from check import RATE_INTERVAL, shown
from cluster import Cluster, holds
from dashboards.written import WrittenPanel, panels
from demo import NAME, START_TIMEOUT_S, TEAM, service
from matplotlib.ticker import FuncFormatter, MultipleLocator
from monitored import QUICK, prometheus_beside, under_load
from prometheus_process import ROOT, Line, Prometheus
from superinfer_runtime.tiny_model import ensure_tiny_model

matplotlib.use("Agg")
from matplotlib import pyplot

IMAGES = ROOT / "docs" / "images"
WATCHED_S = 90.0
GAP_S = 5.0
"""A longer pause between points is a gap in the line."""
COLUMN_INCHES, ROW_INCHES = 0.62, 0.36
COLORS = pyplot.get_cmap("tab10").colors
STEP_COLORS = {"green": "#3a9a4a", "yellow": "#c99700", "red": "#c0392b"}
SCALES = {
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "Bps": ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s")),
    "s": ((1, "s"), (1e-3, "ms")),
}
SUFFIXES = {"reqps": " req/s", "ops": "/s"}


async def record() -> None:
    """Run, look, and draw every dashboard."""
    model = ensure_tiny_model(num_layers=QUICK.num_layers)
    with tempfile.TemporaryDirectory(prefix="superinfer-draw-") as name:
        folder = Path(name)
        async with Cluster.start(folder) as cluster:
            await cluster.install_operator()
            await cluster.kubectl("create", "namespace", TEAM)
            await cluster.apply(service(model, QUICK))
            await cluster.until(TEAM, "sis", NAME, holds("Ready", "Servable"), START_TIMEOUT_S)
            url = await cluster.address(TEAM, NAME)
            async with (
                prometheus_beside(cluster, folder / "prometheus", TEAM, NAME) as prometheus,
                under_load(url, QUICK),
            ):
                started_s = time.time()
                await asyncio.sleep(WATCHED_S)
                print(await shown(prometheus, 1.0))
                await draw(prometheus, started_s, time.time())


async def draw(prometheus: Prometheus, start_s: float, end_s: float) -> None:
    """Draw what Prometheus knows of that time."""
    boards: dict[str, list[WrittenPanel]] = {}
    for panel in panels(RATE_INTERVAL):
        boards.setdefault(panel.board, []).append(panel)
    for board, of_it in boards.items():
        rows = max(panel.raw["gridPos"]["y"] + panel.raw["gridPos"]["h"] for panel in of_it)
        figure = pyplot.figure(figsize=(24 * COLUMN_INCHES, rows * ROW_INCHES), dpi=90)
        for panel in of_it:
            lines = [
                (named(asked.legend, line), line)
                for asked in panel.asked
                for line in await prometheus.query_range(asked.expr, start_s, end_s, 1.0)
            ]
            draw_panel(figure, rows, panel, lines, start_s)
        figure.savefig(IMAGES / f"dashboard-{board.removeprefix('superinfer-')}.png")
        pyplot.close(figure)


def draw_panel(
    figure: Any, rows: int, panel: WrittenPanel, lines: list[tuple[str, Line]], start_s: float
) -> None:
    """Draw one panel where the dashboard has it."""
    at, field = panel.raw["gridPos"], panel.raw["fieldConfig"]["defaults"]
    axes = figure.add_axes(
        (
            (at["x"] + 1.4) / 24,
            1 - (at["y"] + at["h"] - 2.4) / rows,
            (at["w"] - 2.0) / 24,
            (at["h"] - 3.5) / rows,
        )
    )
    axes.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    values = [value for _, line in lines for _, value in line.points]
    tell = in_unit(field["unit"], max(map(abs, values), default=0.0))
    if panel.raw["type"] == "stat":
        axes.axis("off")
        for number, (name, line) in enumerate(lines):
            last = line.points[-1][1]
            beside = ((number + 0.5) / len(lines), 0.5)
            color = STEP_COLORS[step_color(field["thresholds"]["steps"], last)]
            axes.text(*beside, tell(last, None), color=color, fontsize=18, ha="center", va="center")
            axes.text(beside[0], 0.0, name, fontsize=8, ha="center", va="center", color="#555555")
        return
    for number, (name, line) in enumerate(lines):
        times, heights = drawn(line, start_s)
        axes.plot(times, heights, label=name, color=COLORS[number % len(COLORS)], linewidth=1.2)
    axes.set_xlim(left=0)
    if "min" in field:
        axes.set_ylim(bottom=field["min"])
    if field["unit"] == "bytes":
        top = max(values, default=0.0) or 1.0
        axes.yaxis.set_major_locator(MultipleLocator(2 ** math.floor(math.log2(top) - 1)))
    axes.yaxis.set_major_formatter(FuncFormatter(tell))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    columns = max(1, min(len(lines), at["w"] // 3))
    below = {"loc": "upper left", "bbox_to_anchor": (0, -0.13), "borderaxespad": 0.0}
    axes.legend(fontsize=6.5, frameon=False, ncols=columns, **below)


def drawn(line: Line, start_s: float) -> tuple[list[float], list[float]]:
    """A line's times and values, broken where Prometheus had none."""
    times: list[float] = []
    values: list[float] = []
    for at_s, value in line.points:
        if times and at_s - start_s - times[-1] > GAP_S:
            times.append(at_s - start_s)
            values.append(math.nan)
        times.append(at_s - start_s)
        values.append(value)
    return times, values


def named(legend: str, line: Line) -> str:
    """Grafana's legend, filled in."""
    for label, value in line.labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def step_color(steps: list[dict[str, Any]], value: float) -> str:
    """The color of the last step that ``value`` reaches."""
    reached = [step for step in steps if step.get("value") is None or value >= step["value"]]
    return str(reached[-1]["color"])


def in_unit(unit: str, largest: float) -> Any:
    """Return a formatter of the panel's unit, at the scale of its largest value."""
    if unit == "percentunit":
        return lambda value, _: f"{100 * value:.3g} %"
    if unit == "s" and not largest:
        return lambda value, _: f"{value:.3g} s"
    if unit in SCALES:
        scale = next((each for each in SCALES[unit] if largest >= each[0]), SCALES[unit][-1])
        return lambda value, _: f"{value / scale[0]:.3g} {scale[1]}"
    return lambda value, _: f"{value:.3g}{SUFFIXES.get(unit, '')}"


if __name__ == "__main__":
    asyncio.run(record())
