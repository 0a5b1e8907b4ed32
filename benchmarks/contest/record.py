"""The result file: every finished run as it ends, so that a broken-off contest goes on later.

Runs of one file are of one device; the first one's model and KV room are the file's *main* ones,
and ``max_rate_90`` is about these. An engine that fails is an error, with the end of its log; it
never leaves a row. Its errors are forgotten once it is tried again.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

GOAL = 0.9


class Record:
    """What stands in the file at ``path``, kept true after each change."""

    def __init__(self, path: Path, device: str, command: str) -> None:
        """Open the file, or begin it.

        Raises:
            ValueError: it was recorded on another device.
        """
        self._path = path
        self._data: dict[str, Any] = {"device": device, "commands": [], "runs": [], "errors": []}
        if path.exists():
            self._data |= json.loads(path.read_text())
            if self._data["device"] != device:
                raise ValueError(
                    f"{path} was recorded on {self._data['device']}, this is {device}:"
                    " give another --output"
                )
        if command not in self._data["commands"]:
            self._data["commands"].append(command)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._data["runs"])

    def has(self, identity: dict[str, Any]) -> bool:
        """Whether the run of this identity has ended well before."""
        return any(
            all(row.get(name) == value for name, value in identity.items())
            for row in self._data["runs"]
        )

    def add(self, row: dict[str, Any]) -> None:
        self._data["runs"].append(row)
        self._write()

    def try_again(self, engine: str) -> None:
        """Forget what went wrong with ``engine``."""
        self._data["errors"] = [e for e in self._data["errors"] if e["engine"] != engine]

    def fail(self, engine: str, error: str, **where: Any) -> None:
        self._data["errors"].append({"engine": engine, "error": error, **where})
        self._write()

    def _write(self) -> None:
        """Replace the file in one step: a reader, or a kill, never finds half of it."""
        content = {
            **self._data,
            "command": " && ".join(self._data["commands"]),
            "main": _setting(self._data["runs"][0]) if self._data["runs"] else None,
            "max_rate_90": max_rates(_of_main_setting(self._data["runs"])),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(partial, self._path)


def max_rates(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The highest rate at `GOAL` joint attainment, by ``WORKLOAD/TIER`` and engine.

    No interpolation: a rate counts if it was measured, reached the goal (on average of its runs),
    and so did every lower one measured. 0 if the lowest missed; an engine without runs is absent.
    """
    measured: dict[str, dict[str, dict[float, list[float]]]] = {}
    for row in rows:
        by_rate = measured.setdefault(f"{row['workload']}/{row['tier']}", {}).setdefault(
            row["engine"], {}
        )
        by_rate.setdefault(row["rate"], []).append(row["joint_attainment"])
    return {
        load: {engine: _max_rate(by_rate) for engine, by_rate in engines.items()}
        for load, engines in measured.items()
    }


def _max_rate(joint_by_rate: dict[float, list[float]]) -> float:
    reached = 0.0
    for rate in sorted(joint_by_rate):
        if fmean(joint_by_rate[rate]) < GOAL:
            break
        reached = rate
    return reached


def _setting(row: dict[str, Any]) -> dict[str, Any]:
    return {"model": row["model"], "kv_tokens": row["kv_tokens"]}


def _of_main_setting(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if _setting(row) == _setting(rows[0])]
