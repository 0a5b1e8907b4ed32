"""Progress on stderr: a bar on a terminal, a plain line every 5 seconds elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from superinfer_runtime.bench.progress import Progress

PLAIN_INTERVAL_S = 5.0


class ProgressDisplay:
    """A context manager that is itself the runner's progress callback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Bar | None = None
        self._next_line_s = PLAIN_INTERVAL_S
        if console.is_terminal:
            self._bar = Bar(
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                total=progress.planned,
                completed=progress.done,
                description=_words(progress),
            )
        elif progress.elapsed_s >= self._next_line_s:
            self._next_line_s += PLAIN_INTERVAL_S
            self._console.print(
                f"{progress.elapsed_s:.0f} s: {progress.done}/{progress.planned} done, "
                f"{_words(progress)}",
                highlight=False,
                soft_wrap=True,
            )


def _words(progress: Progress) -> str:
    joint = progress.joint_attainment
    return (
        f"{progress.sent} sent, {progress.failed} failed, "
        f"joint {'-' if joint is None else f'{joint:.0%}'}"
    )
