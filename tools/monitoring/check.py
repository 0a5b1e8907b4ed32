"""Whether the dashboards show anything: every query of every panel, put to a real Prometheus.

A panel has data when each of its queries has, as numbers: a line of NaN is an empty panel. Asked
again until all have, or time is up.
"""

import asyncio
import time
from dataclasses import dataclass

import httpx
from dashboards.written import WrittenPanel, panels
from prometheus_process import Prometheus

RATE_INTERVAL = "10s"
"""Stands for ``$__rate_interval``: four scrapes and more at a second each."""
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What the dashboards show."""

    panels: int
    empty: tuple[str, ...]
    """Panels without data, by dashboard and title, and what was asked in vain."""

    @property
    def panels_with_data(self) -> int:
        return self.panels - len(self.empty)


async def shown(prometheus: Prometheus, within_s: float) -> Shown:
    """Return what is shown, once all is or after ``within_s``."""
    every = list(panels(RATE_INTERVAL))
    deadline_s = time.monotonic() + within_s
    missing = every
    while missing and time.monotonic() < deadline_s:
        found = [await _in_vain(prometheus, panel) for panel in missing]
        missing = [panel for panel, vain in zip(missing, found, strict=True) if vain]
        if missing:
            await asyncio.sleep(POLL_S)
    empty = [
        f"{panel.board} / {panel.title}: {', '.join(await _in_vain(prometheus, panel))}"
        for panel in missing
    ]
    return Shown(len(every), tuple(empty))


async def _in_vain(prometheus: Prometheus, panel: WrittenPanel) -> list[str]:
    """The queries of a panel that have no answer, with Prometheus' word where it refuses one."""
    vain = []
    for asked in panel.asked:
        try:
            if not await prometheus.query(asked.expr):
                vain.append(asked.expr)
        except httpx.HTTPStatusError as refused:
            vain.append(f"{asked.expr} ({refused.response.text})")
    return vain
