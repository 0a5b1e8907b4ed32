"""From panels as data to the JSON that Grafana imports.

Panels stand side by side, 24 columns a row. Every query goes to the data source that the person
looking chooses, and to the namespaces and services chosen.
"""

import json
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL = ".*"
GREEN, YELLOW, RED = "green", "yellow", "red"
HEIGHT, STAT_HEIGHT = 8, 5

SERVED = 'namespace=~"$namespace", service=~"$service"'
"""Which services are looked at."""
RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, and what its lines are called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Step:
    """From ``value`` on it is ``color``."""

    value: float
    color: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; ``below`` colors what lies under the first of ``steps``."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 12
    kind: Literal["timeseries", "stat"] = "timeseries"
    steps: tuple[Step, ...] = ()
    below: str = GREEN
    lowest: float | None = 0
    highest: float | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    by_service: bool = True


def as_json(board: Board) -> str:
    """Return the file's text."""
    made = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["superinfer"])
        .timezone("browser")
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(_to_the_others())
        .with_variable(
            builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
    )
    if board.by_service:
        made = made.with_variable(_choice("namespace", "superinfer_slo_target"))
        chosen = 'superinfer_slo_target{namespace=~"$namespace"}'
        made = made.with_variable(_choice("service", chosen))
    for number, panel in enumerate(board.panels, start=1):
        made = made.with_panel(_panel(panel).id(number))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(panel: Panel) -> timeseries.Panel | stat.Panel:
    made = _lines(panel) if panel.kind == "timeseries" else _figures(panel)
    made = (
        made.title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(SOURCE)
        .span(panel.width)
        .height(HEIGHT if panel.kind == "timeseries" else STAT_HEIGHT)
        .thresholds(_thresholds(panel))
    )
    if panel.lowest is not None:
        made = made.min(panel.lowest)
    if panel.highest is not None:
        made = made.max(panel.highest)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        made = made.with_target(asked.ref_id(letter).datasource(SOURCE))
    return made


def _lines(panel: Panel) -> timeseries.Panel:
    style = common.GraphTresholdsStyleMode.DASHED if panel.steps else None
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if style is not None:
        made = made.thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(style))
    return made


def _figures(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(common.BigValueTextMode.AUTO)
    )


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    steps = [dashboard.Threshold(None, panel.below)]
    steps += [dashboard.Threshold(step.value, step.color) for step in panel.steps]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _choice(label: str, among: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(label)
        .label(label.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({among}, {label})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ALL)
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def _to_the_others() -> builders.DashboardLink:
    return (
        builders.DashboardLink("SuperInfer")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags(["superinfer"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
