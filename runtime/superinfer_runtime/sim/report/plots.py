"""Charts of runs and sweeps as PNG or SVG; the only module that needs matplotlib.

Equal data give equal bytes with one version of matplotlib: nothing written tells a time or a
machine, the fonts are matplotlib's own, and settings of the user's are left aside.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import Any

from superinfer_runtime.bench.distribution import percentile
from superinfer_runtime.sim.report.curves import CurvePoint, Spread, curves
from superinfer_runtime.sim.report.policy_style import INK, RULE, Style, policy_styles
from superinfer_runtime.sim.report.sweep import Sweep
from superinfer_runtime.sim.result import RunResult

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("charts need matplotlib: pip install 'superinfer[sim]'") from missing

PNG_DOTS_PER_INCH = 150
PANELS_ABREAST = 3
LEGEND_COLUMNS = 5
CDF_POINTS = 400
SHORTEST_TTFT_S = 1e-3
"""Shorter ones stand at the left edge of the logarithmic axis."""

_PANELS: tuple[tuple[str, Callable[[CurvePoint], Spread]], ...] = (
    ("TTFT", lambda point: point.ttft),
    ("TBT (request mean)", lambda point: point.tbt),
    ("Joint", lambda point: point.joint),
)
_TARGET_LINE: dict[str, Any] = {
    "color": INK,
    "linewidth": 0.8,
    "linestyle": (0, (4, 3)),
    "zorder": 1,
}
_THEME: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 12,
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "superinfer",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def attainment_figure(sweep: Sweep, scenario: str) -> Figure:
    """Share of requests within their TTFT, TBT and both, against the rate, by policy.

    Means over the seeds; the band, where there are several, spans all of them. Dashed lines are
    the joint attainments for which highest rates were sought.
    """
    by_policy = curves(sweep, scenario)
    styles = policy_styles(sweep.policies)
    with _theme():
        figure = Figure(figsize=(10, 4))
        panels = figure.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
        for axes, (title, attainment) in zip(panels, _PANELS, strict=True):
            for policy, points in by_policy.items():
                _curve(axes, policy, points, attainment, styles[policy])
            axes.set_title(title)
            axes.set_xlabel("request rate, req/s")
            axes.xaxis.set_major_locator(_round_steps())
        panels[0].set_ylabel("requests within target, %")
        panels[0].set_ylim(0, 1.03)
        panels[0].yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        for goal in sweep.goals:
            panels[-1].axhline(goal, **_TARGET_LINE)
            panels[-1].annotate(
                f"{goal * 100:g} %",
                (1, goal),
                xytext=(4, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
            )
        seeds = max((point.seeds for points in by_policy.values() for point in points), default=0)
        spread = f", mean and range of {seeds} seeds" if seeds > 1 else ""
        figure.suptitle(f"{scenario}: attainment by request rate{spread}", x=0.01, ha="left")
        if by_policy:
            figure.legend(
                *panels[0].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=min(LEGEND_COLUMNS, len(by_policy)),
            )
    return figure


def max_rate_figure(sweep: Sweep, goal: float) -> Figure:
    """Highest rate at which each policy keeps ``goal`` (0..1) joint attainment, by scenario."""
    styles = policy_styles(sweep.policies)
    rows = -(-len(sweep.max_rates) // PANELS_ABREAST)
    abreast = -(-len(sweep.max_rates) // rows)
    tallest = max(len(policies) for policies in sweep.max_rates.values())
    with _theme():
        figure = Figure(figsize=(10, 0.6 + rows * (0.9 + 0.24 * tallest)))
        panels = figure.subplots(rows, abreast, squeeze=False).flat
        for axes in panels[len(sweep.max_rates) :]:
            axes.set_visible(False)
        for axes, (scenario, policies) in zip(panels, sweep.max_rates.items(), strict=False):
            rates = {policy: found[goal] for policy, found in policies.items() if goal in found}
            bars = axes.barh(
                list(rates),
                list(rates.values()),
                color=[styles[policy].colour for policy in rates],
                height=0.7,
            )
            axes.bar_label(bars, fmt="%.3g", padding=3)
            axes.invert_yaxis()
            axes.margins(x=0.14)
            axes.grid(visible=False, axis="y")
            axes.tick_params(axis="y", length=0)
            axes.set_title(scenario)
            axes.set_xlabel("req/s")
            axes.xaxis.set_major_locator(_round_steps())
        figure.suptitle(
            f"Highest request rate at {goal * 100:g} % joint attainment", x=0.01, ha="left"
        )
    return figure


def ttft_figure(runs: Sequence[RunResult]) -> Figure:
    """Share of requests whose first token came within a time, by policy; all classes together."""
    styles = policy_styles(run.policy for run in runs)
    shares = [number / CDF_POINTS for number in range(CDF_POINTS + 1)]
    with _theme():
        figure = Figure(figsize=(10, 4.4))
        axes = figure.subplots()
        for run in runs:
            ordered = sorted(max(record.ttft_s, SHORTEST_TTFT_S) for record in run.records)
            if ordered:
                style = styles[run.policy]
                axes.plot(
                    [percentile(ordered, share) for share in shares],
                    shares,
                    color=style.colour,
                    linestyle=style.line,
                    label=run.policy,
                )
        for target_s in sorted({one.ttft_s for run in runs for one in run.classes}):
            axes.axvline(target_s, **_TARGET_LINE)
            axes.annotate(
                f"target {target_s:g} s",
                (target_s, 0.02),
                xytext=(3, 0),
                textcoords="offset points",
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axes.set_xlabel("time to first token, s")
        axes.set_ylabel("requests, %")
        figure.suptitle("Time to first token", x=0.01, ha="left")
        if runs:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure


def png(figure: Figure) -> bytes:
    """The chart on white."""
    out = BytesIO()
    with _theme():
        figure.savefig(out, format="png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None})
    return out.getvalue()


def svg(figure: Figure) -> str:
    """The chart on no ground, as an SVG document."""
    out = StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with _theme():
        figure.savefig(out, format="svg", facecolor="none", metadata=metadata)
    return out.getvalue()


def _curve(
    axes: Axes,
    policy: str,
    points: Sequence[CurvePoint],
    attainment: Callable[[CurvePoint], Spread],
    style: Style,
) -> None:
    rates = [point.rate for point in points]
    spreads = [attainment(point) for point in points]
    axes.plot(
        rates,
        [spread.mean for spread in spreads],
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        label=policy,
        clip_on=False,
    )
    if any(point.seeds > 1 for point in points):
        axes.fill_between(
            rates,
            [spread.low for spread in spreads],
            [spread.high for spread in spreads],
            color=style.colour,
            alpha=0.15,
            linewidth=0,
        )


def _round_steps() -> MaxNLocator:
    return MaxNLocator(nbins=7, steps=[1, 2, 5, 10])


@contextmanager
def _theme() -> Iterator[None]:
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in a script that the font lacks: boxes in a PNG, whole in an SVG.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_THEME)
        yield
