"""A line of attainment over time as the path of an SVG, without axes: pure.

Time goes from left (``span_s`` ago) to right (now), attainment from 0 below to 1 above. Where
nothing was judged, or nobody looked, the line is broken.
"""

from collections.abc import Sequence

from superinfer_operator.status_page.history import PERIOD_S
from superinfer_operator.status_page.view import Point

GAP_S = 3 * PERIOD_S


def path(points: Sequence[Point], span_s: float, width: float, height: float) -> str:
    """Return the ``d`` of the line through ``points``, which come oldest first."""
    parts: list[str] = []
    before: Point | None = None
    for point in points:
        if point.attained is not None:
            joined = (
                before is not None
                and before.attained is not None
                and before.age_s - point.age_s <= GAP_S
            )
            x = width * (1 - min(point.age_s, span_s) / span_s)
            # A lone point is a line of no length, which a round cap shows as a dot.
            parts.append(f"{'L' if joined else 'M'}{x:.1f} {y(point.attained, height):.1f}")
            parts.extend([] if joined else ["h0"])
        before = point
    return "".join(parts)


def y(attained: float, height: float) -> float:
    """Return how far below the upper edge an attainment is drawn."""
    return height * (1 - attained)
