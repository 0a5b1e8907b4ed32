"""Run a study, show it, write it."""

import sys

from rich.console import Console

from superinfer_runtime.sim.evaluation.outputs import Outputs
from superinfer_runtime.sim.evaluation.progress_line import ProgressLine
from superinfer_runtime.sim.evaluation.study import Study
from superinfer_runtime.sim.evaluation.sweep_runner import evaluate, open_ends
from superinfer_runtime.sim.report.tables import run_tables, sweep_tables

TABLE_WIDTH = 100
"""Columns that the report's tables need; what is no terminal has none of its own."""


def run_study(study: Study, outputs: Outputs, workers: int) -> None:
    """Tables go to stdout, progress to stderr.

    Raises:
        CaseError: a case cannot be run.
        BrokenProcessPool: a worker process died.
        OutputError: a file cannot be written.
    """
    with ProgressLine(Console(stderr=True)) as line:
        evaluation = evaluate(
            study.setup,
            study.cases,
            study.searches,
            workers=workers,
            keep=outputs.kept(study),
            on_progress=line,
        )
    sweep = evaluation.sweep(study.parameters())
    console = wide_console()
    if study.compares_runs:
        console.print(run_tables([point.summary for point in sweep.points]))
    else:
        console.print(sweep_tables(sweep))
    for text in open_ends(evaluation, study.searches):
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    outputs.write(study, evaluation, sweep)


def wide_console() -> Console:
    """For tables on stdout."""
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
