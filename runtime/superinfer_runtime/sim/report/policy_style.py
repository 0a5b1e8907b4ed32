"""One look per policy, the same in every chart: colours that colour-blind readers can tell apart.

The colours are Okabe and Ito's (Color Universal Design, 2008) without the yellow, which is too pale
for a line on white; markers differ too, so a chart in grey stays readable. On a dark page the
colours too dark for it have a lighter twin.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import cycle


@dataclass(frozen=True, slots=True)
class Style:
    """Colours as ``#rrggbb``; line and marker in matplotlib's codes."""

    colour: str
    dark_colour: str
    marker: str
    line: str = "-"


INK = "#1f2328"
RULE = "#d0d7de"
"""Text and lines of charts that belong to no policy."""
STYLES = {
    "rotasched": Style("#d55e00", "#ff8a3d", "o"),
    "stock": Style("#3b3b3b", "#d8d8d8", "s"),
    "lvf": Style("#0072b2", "#4d9fd6", "D"),
    "fcfs-swap": Style("#009e73", "#20bd90", "^"),
    "released": Style("#56b4e9", "#9bd5f7", "P"),
    "edf": Style("#cc79a7", "#dd93bb", "v"),
    "sjf-oracle": Style("#e69f00", "#f0b63a", "X"),
    "mlfq": Style("#8b6f3d", "#c4a66a", "<"),
    "bound": Style("#8c8c8c", "#8c8c8c", "", "--"),
}
DARK_TWINS = {
    INK: "#e6edf3",
    RULE: "#3d444d",
    **{style.colour: style.dark_colour for style in STYLES.values()},
}
"""Every colour of a chart -> the one that takes its place on a dark page."""


def policy_styles(policies: Iterable[str]) -> dict[str, Style]:
    """The look of each policy; names without one of their own take the rest, in order of name.

    Where there are more than that, the looks come again with a dotted line.
    """
    names = tuple(dict.fromkeys(policies))
    free = [style for name, style in STYLES.items() if name not in names]
    spare = cycle([*free, *(replace(style, line=":") for style in STYLES.values())])
    others = dict(zip(sorted(set(names) - set(STYLES)), spare, strict=False))
    return {name: STYLES.get(name) or others[name] for name in names}
