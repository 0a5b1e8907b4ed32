"""The dashboards as they are shipped, read back from their JSON: what is checked and drawn."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "deploy/charts/superinfer/files/dashboards"
CHOSEN = {"$namespace": ".*", "$service": ".*"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a panel, with Grafana's variables filled in."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class WrittenPanel:
    """One panel of a file: what is asked, and the JSON it stands in."""

    board: str
    title: str
    asked: tuple[Asked, ...]
    raw: dict[str, Any]


def panels(rate_interval: str) -> Iterator[WrittenPanel]:
    """Every panel of every dashboard, looking at all services."""
    for file in sorted(FOLDER.glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            asked = tuple(
                Asked(_filled(target["expr"], rate_interval), target["legendFormat"])
                for target in panel["targets"]
            )
            yield WrittenPanel(file.stem, panel["title"], asked, panel)


def _filled(expr: str, rate_interval: str) -> str:
    for name, value in {**CHOSEN, "$__rate_interval": rate_interval}.items():
        expr = expr.replace(name, value)
    return expr
