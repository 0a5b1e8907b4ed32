"""A result file as Markdown: the highest rates, and a row a run with the engines side by side."""

from collections.abc import Callable, Sequence
from typing import Any

from contest.setup import ENGINES

Row = dict[str, Any]
_FIGURES: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("joint %", lambda row: _percent(row["joint_attainment"])),
    ("TTFT %", lambda row: _percent(row["ttft_attainment"])),
    ("TBT %", lambda row: _percent(row["tbt_attainment"])),
    ("tok/s", lambda row: f"{row['tokens_per_s']:,.0f}"),
    ("TTFT P99 s", lambda row: _of(row["ttft_s"], "p99", 2)),
    ("TBT P99 ms", lambda row: _of(row["tbt_s"], "p99", 1, 1e3)),
    ("rotations", lambda row: f"{row.get('rotations_out', 0):,.0f}"),
    ("recomputed", lambda row: f"{row['recompute_preemptions']:,.0f}"),
    ("failed", lambda row: str(row["failed"])),
    ("unfinished", lambda row: str(row["unfinished"])),
)


def markdown(result: dict[str, Any]) -> str:
    """The whole result, settings that differ under headings of their own."""
    parts = [f"Measured on {result['device']}."]
    if result["max_rate_90"]:
        main = result["main"]
        parts.append(
            f"Highest rate (req/s) at 90 % joint attainment, {main['model']} with"
            f" {main['kv_tokens']:,} tokens of KV, load of {main['seconds']:g} s:"
        )
        parts.append(_max_rates(result["max_rate_90"]))
    for title, rows in by_setting(result["runs"]).items():
        parts += [f"### {title}", _runs(rows)]
    for error in result["errors"]:
        cause = error["error"].strip().splitlines()[0]
        parts.append(f"**{error['engine']} failed** ({error.get('workload', 'start')}): `{cause}`")
    return "\n\n".join(parts) + "\n"


def by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that may be compared with each other, under what they have in common."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        title = (
            f"{row['workload']}, {row['model']}, {row['kv_tokens']:,} tokens of KV,"
            f" {row['tier']} tier, {row['seconds']:g} s and up to {row['drain_s']:g} s to finish"
        )
        groups.setdefault(title, []).append(row)
    return groups


def place(engine: str) -> tuple[int, str]:
    """Engines come in the contest's order."""
    return (ENGINES.index(engine) if engine in ENGINES else len(ENGINES), engine)


def _max_rates(max_rates: dict[str, dict[str, float]]) -> str:
    engines = sorted({engine for rates in max_rates.values() for engine in rates}, key=place)
    lines = [
        [load, *(f"{rates[e]:g}" if e in rates else "-" for e in engines)]
        for load, rates in max_rates.items()
    ]
    return _table(["workload/tier", *engines], lines)


def _runs(rows: Sequence[Row]) -> str:
    ordered = sorted(rows, key=lambda row: (row["rate"], row["seed"], place(row["engine"])))
    lines = [
        [f"{row['rate']:g}", row["engine"], *(figure(row) for _, figure in _FIGURES)]
        for row in ordered
    ]
    return _table(["req/s", "engine", *(name for name, _ in _FIGURES)], lines)


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in headings[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rule, *lines))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _of(described: dict[str, float] | None, name: str, digits: int, factor: float = 1.0) -> str:
    return "-" if described is None else f"{described[name] * factor:.{digits}f}"
