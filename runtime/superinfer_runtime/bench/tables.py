"""A report as text for people: one table of objectives, one of latencies, 80 columns wide."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from superinfer_runtime.bench.distribution import Distribution
from superinfer_runtime.bench.report import Report, Summary

TOTAL = "all"
SEND_LAG_WORTH_TELLING_S = 0.05
MESSAGES_SHOWN = 3


def report_tables(report: Report) -> RenderableType:
    """Both tables, and below them whatever a reader must know to trust the figures."""
    rows = [
        (load_class.name, f"{load_class.ttft_s:g}s/{load_class.tbt_s * 1000:g}ms", summary)
        for load_class, summary in report.classes
    ]
    if len(rows) > 1:
        rows.append((TOTAL, "", report.total))
    parts: list[RenderableType] = [
        _objectives(rows, report.duration_s),
        _latencies([(name, summary) for name, _, summary in rows]),
    ]
    parts += [Text(note) for note in notes(report)]
    return Group(*parts)


def notes(report: Report) -> list[str]:
    """One line each: an interrupted run, failures, a load generator that fell behind."""
    lines = []
    if report.interrupted:
        lines.append(
            f"Stopped after {report.duration_s:.1f} s: {report.total.requests} of {report.planned} "
            "requests had been sent; those unfinished count as failed."
        )
    for failure, count in report.failures[:MESSAGES_SHOWN]:
        lines.append(f"{count} failed: {failure.message}")
    if len(report.failures) > MESSAGES_SHOWN:
        rest = sum(count for _, count in report.failures[MESSAGES_SHOWN:])
        lines.append(f"{rest} failed for other reasons")
    lag_s = report.send_lag_s
    if lag_s is not None and lag_s.p99 > SEND_LAG_WORTH_TELLING_S:
        lines.append(
            f"The load generator fell behind: 1 % of requests left {lag_s.p99 * 1000:.0f} ms late "
            "or more (counted in TTFT)."
        )
    return lines


def _objectives(rows: list[tuple[str, str, Summary]], duration_s: float) -> Table:
    table = _table("Objectives met")
    table.add_column("class", overflow="fold")
    for heading in ("targets", "sent", "failed", "TTFT", "TBT", "joint", "gaps", "tok/s"):
        table.add_column(heading, justify="right")
    for name, target, summary in rows:
        table.add_row(
            name,
            target,
            str(summary.requests),
            str(summary.failed),
            *(
                f"{share:.1%}" if summary.requests else "-"
                for share in (
                    summary.ttft_attainment,
                    summary.tbt_attainment,
                    summary.joint_attainment,
                    summary.gap_attainment,
                )
            ),
            f"{summary.output_tokens / duration_s:.1f}" if duration_s > 0 else "-",
        )
    return table


def _latencies(rows: list[tuple[str, Summary]]) -> Table:
    table = _table("Latency of finished requests, ms")
    table.add_column("class", overflow="fold")
    table.add_column("")
    for heading in ("mean", "P50", "P90", "P99"):
        table.add_column(heading, justify="right")
    for name, summary in rows:
        for index, (what, distribution) in enumerate(
            (
                ("TTFT", summary.ttft_s),
                ("TBT (request mean)", summary.tbt_s),
                ("gap between tokens", summary.gap_s),
                ("end to end", summary.e2e_s),
            )
        ):
            table.add_row("" if index else name, what, *_cells(distribution))
        table.add_section()
    return table


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _cells(distribution: Distribution | None) -> list[str]:
    if distribution is None:
        return ["-"] * 4
    figures = (distribution.mean, distribution.p50, distribution.p90, distribution.p99)
    return [f"{figure * 1000:,.1f}" for figure in figures]
