"""The result file: every finished run as it ends, so that a broken-off contest goes on later.

Runs of one file are of one kind of device; the first one's model, KV room and length of load are
the file's *main* ones, and ``max_rate_90`` is about these. Contests on several cards of one host
may write to one file: each change reads the file anew under a lock. An engine that fails is an
error, with the end of its log; it never leaves a row. Its errors are forgotten once it is tried
again.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

GOAL = 0.9


class Record:
    """What stands in the file at ``path``, kept true after each change."""

    def __init__(self, path: Path, device: str, command: str) -> None:
        """Open the file, or prepare to begin it.

        Raises:
            ValueError: it was recorded on another device.
        """
        self._path = path
        self._device = device
        self._command = command
        if (recorded_on := self._read()["device"]) != device:
            raise ValueError(
                f"{path} was recorded on {recorded_on}, this is {device}: give another --output"
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._read()["runs"])

    def has(self, identity: dict[str, Any]) -> bool:
        """Whether the run of this identity has ended well before."""
        return any(
            all(row.get(name) == value for name, value in identity.items()) for row in self.rows
        )

    def add(self, row: dict[str, Any]) -> None:
        self._change(lambda data: data["runs"].append(row))

    def try_again(self, engine: str) -> None:
        """Forget what went wrong with ``engine``."""

        def forget(data: dict[str, Any]) -> None:
            data["errors"] = [error for error in data["errors"] if error["engine"] != engine]

        if any(error["engine"] == engine for error in self._read()["errors"]):
            self._change(forget)

    def fail(self, engine: str, error: str, **where: Any) -> None:
        self._change(
            lambda data: data["errors"].append({"engine": engine, "error": error, **where})
        )

    def _read(self) -> dict[str, Any]:
        data: dict[str, Any] = {"device": self._device, "commands": [], "runs": [], "errors": []}
        return data | (json.loads(self._path.read_text()) if self._path.exists() else {})

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Replace the file in one step: a reader, or a kill, never finds half of it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path.parent):
            data = self._read()
            change(data)
            if self._command not in data["commands"]:
                data["commands"].append(self._command)
            content = {
                **data,
                "command": " && ".join(data["commands"]),
                "main": _setting(data["runs"][0]) if data["runs"] else None,
                "max_rate_90": max_rates(_of_main_setting(data["runs"])),
            }
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(content, indent=1) + "\n")
            os.replace(partial, self._path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among those who lock this folder; nothing is left lying about."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def max_rates(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The highest rate at `GOAL` joint attainment, by ``WORKLOAD/TIER`` and engine.

    No interpolation: a rate counts if it was measured, reached the goal (on average of its runs),
    and so did every lower one measured. 0 if the lowest missed; an engine without runs is absent.
    Of runs that were given different times to finish only those with the longest count: the others
    cut off requests that were in time.
    """
    measured: dict[str, dict[str, dict[float, list[dict[str, Any]]]]] = {}
    for row in rows:
        by_rate = measured.setdefault(f"{row['workload']}/{row['tier']}", {}).setdefault(
            row["engine"], {}
        )
        by_rate.setdefault(row["rate"], []).append(row)
    return {
        load: {engine: _max_rate(by_rate) for engine, by_rate in engines.items()}
        for load, engines in measured.items()
    }


def _max_rate(rows_by_rate: dict[float, list[dict[str, Any]]]) -> float:
    reached = 0.0
    for rate, rows in sorted(rows_by_rate.items()):
        longest_s = max(row["drain_s"] for row in rows)
        if fmean(r["joint_attainment"] for r in rows if r["drain_s"] == longest_s) < GOAL:
            break
        reached = rate
    return reached


def _setting(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("model", "kv_tokens", "seconds")}


def _of_main_setting(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if _setting(row) == _setting(rows[0])]
