"""Progress on stderr: one changing line on a terminal, a plain line every 10 seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from superinfer_runtime.sim.evaluation.sweep_runner import Progress

PLAIN_INTERVAL_S = 10.0


class ProgressLine:
    """A context manager that is itself the evaluation's progress callback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("simulating") if console.is_terminal else None
        self._next_line_s = time.monotonic() + PLAIN_INTERVAL_S

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, progress: Progress) -> None:
        words = f"{progress.ended_runs} of {progress.submitted_runs} runs, last {progress.last}"
        if self._status is not None:
            self._status.update(words)
        elif time.monotonic() >= self._next_line_s:
            self._next_line_s = time.monotonic() + PLAIN_INTERVAL_S
            self._console.print(words, highlight=False, markup=False, soft_wrap=True)
