"""Refit the constants of `superinfer_runtime.sim.machine.operator_times` and print their errors.

    python tools/calibration/fit_operators.py [--folder ../shared/calibration/h200]

Constants are fitted on four fifths of the shapes; shapes are held out whole, so that the errors on
the last fifth are those of shapes never seen. The fit minimises the mean relative error.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from operator_tables import TABLES, OperatorTable
from rich.console import Console
from rich.table import Table

DEFAULT_FOLDER = Path(__file__).parents[3] / "shared" / "calibration"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("SUPERINFER_CALIBRATION", DEFAULT_FOLDER)) / "h200"
    parser.add_argument("--folder", type=Path, default=default)
    folder: Path = parser.parse_args().folder
    console = Console()
    errors = Table("operator", "shapes", "rows", "mean", "P50", "P90", title="absolute errors, %")
    for read in TABLES:
        table = read(folder)
        fitted = refit(table)
        console.print(f"{type(fitted).__name__}(")
        for field, value in zip(fields(fitted), astuple(fitted), strict=True):
            console.print(f"    {field.name}={value:.3g},")
        console.print(")")
        for label, rows in (("fitted", ~table.held_out), ("held out", table.held_out)):
            if rows.any():
                for name, constants in (("refit", fitted), ("committed", table.committed)):
                    cells = error_cells(table.errors(constants)[rows])
                    errors.add_row(f"{table.name}, {name}", label, f"{rows.sum():,}", *cells)
    console.print(errors)


def refit(table: OperatorTable) -> Any:
    """Return the constants that fit the rows not held out."""
    kind = type(table.committed)

    def loss(values: Sequence[float]) -> float:
        return float(np.abs(table.errors(kind(*values))[~table.held_out]).mean())

    return kind(*pattern_search(loss, astuple(table.committed)))


def pattern_search(
    loss: Callable[[Sequence[float]], float], start: Sequence[float], rounds: int = 300
) -> list[float]:
    """Vary one value at a time by a share of it that grows with success and shrinks without."""
    values, shares = list(start), [0.1] * len(start)
    best = loss(values)
    for _ in range(rounds):
        for index in range(len(values)):
            for sign in (1, -1):
                tried = values.copy()
                tried[index] *= 1 + sign * shares[index]
                if (reached := loss(tried)) < best:
                    values, best = tried, reached
                    shares[index] *= 1.3
                    break
            else:
                shares[index] *= 0.6
        if max(shares) < 1e-3:
            break
    return values


def error_cells(errors: Any) -> list[str]:
    size = np.abs(errors) * 100
    return [f"{x:.1f}" for x in (size.mean(), np.median(size), np.percentile(size, 90))]


if __name__ == "__main__":
    main()
