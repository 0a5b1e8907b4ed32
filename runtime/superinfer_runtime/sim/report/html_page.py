"""One self-contained HTML page: no script, no font, no picture from anywhere else.

Every text is escaped here; only charts come as markup (`inline_svg`). Light or dark as the reader's
system is set. The page is well-formed XML too.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from superinfer_runtime.sim.report.grids import Grid
from superinfer_runtime.sim.report.inline_svg import css_variable
from superinfer_runtime.sim.report.markup_text import escaped
from superinfer_runtime.sim.report.policy_style import DARK_TWINS, INK, RULE

_STYLE = """
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", sans-serif;
  color: var(--ink); background: var(--ground); }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
figure { margin: 0 0 1rem; }
svg { width: 100%; height: auto; }
svg text { font-family: inherit !important; }
.note { margin: 0 0 .25rem; padding-left: .75rem; border-left: 3px solid var(--rule); }
.wide { overflow-x: auto; margin-bottom: 1rem; }
summary { cursor: pointer; margin-bottom: .5rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .15rem .9rem .15rem 0; text-align: right; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom: 1px solid var(--ink); }
tbody + tbody tr:first-child > * { border-top: 1px solid var(--rule); }
.label { text-align: left; font-weight: 400; }
thead .label { font-weight: 600; }
"""


def html_page(title: str, parts: Iterable[str]) -> str:
    """The document around ``parts``, each made by a function of this module or `inline_svg`."""
    light = {"--ink": INK, "--ground": "#ffffff", "--rule": RULE}
    dark = {"--ink": DARK_TWINS[INK], "--ground": "#0d1117", "--rule": DARK_TWINS[RULE]}
    light |= {css_variable(colour): colour for colour in DARK_TWINS}
    dark |= {css_variable(colour): twin for colour, twin in DARK_TWINS.items()}
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8" />',
            '<meta name="viewport" content="width=device-width, initial-scale=1" />',
            f"<title>{escaped(title)}</title>",
            "<style>",
            f":root {{ color-scheme: light dark; {_declarations(light)} }}",
            f"@media (prefers-color-scheme: dark) {{ :root {{ {_declarations(dark)} }} }}",
            _STYLE.strip(),
            "</style>",
            "</head>",
            "<body>",
            f"<h1>{escaped(title)}</h1>",
            *parts,
            "</body>",
            "</html>\n",
        )
    )


def heading(title: str) -> str:
    return f"<h2>{escaped(title)}</h2>"


def note(plain: str) -> str:
    return f'<p class="note">{escaped(plain)}</p>'


def figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def folded(title: str, part: str) -> str:
    """Shown when the reader asks for it."""
    return f"<details><summary>{escaped(title)}</summary>{part}</details>"


def table(grid: Grid) -> str:
    head = "".join(
        f'<th scope="col"{_label(number, grid)}>{escaped(heading)}</th>'
        for number, heading in enumerate(grid.columns)
    )
    bodies = "".join(
        "<tbody>" + "".join(f"<tr>{_cells(row, grid)}</tr>" for row in rows) + "</tbody>"
        for rows in grid.displayed()
    )
    return (
        f'<div class="wide"><table><caption>{escaped(grid.title)}</caption>'
        f"<thead><tr>{head}</tr></thead>{bodies}</table></div>"
    )


def parameters_table(parameters: Mapping[str, Any]) -> str:
    """Names and values, anything but text as JSON."""
    rows = tuple(
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in parameters.items()
    )
    return table(Grid("Parameters", 2, ("name", "value"), (rows,)))


def _cells(row: tuple[str, ...], grid: Grid) -> str:
    return "".join(
        f'<th scope="row"{_label(number, grid)}>{escaped(cell)}</th>'
        if number < grid.labels
        else f"<td>{escaped(cell)}</td>"
        for number, cell in enumerate(row)
    )


def _label(number: int, grid: Grid) -> str:
    return ' class="label"' if number < grid.labels else ""


def _declarations(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}: {value};" for name, value in variables.items())
