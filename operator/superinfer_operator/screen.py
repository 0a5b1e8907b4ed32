"""Where the status and the runtime's output are shown.

On a terminal a table that stays below the runtime's log lines; elsewhere one line for each change.
Everything goes to stderr or to the given console, is readable without colour, and is never taken
as markup: log lines may hold brackets.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live

from superinfer_operator.status import View, as_json, line, table, topic


class Screen:
    """Shows views and log lines on ``console``, and the latest view in ``json_status``."""

    def __init__(self, console: Console, json_status: Path | None = None) -> None:
        self._console = console
        self._json_status = json_status
        self._live: Live | None = None
        self._topic: tuple[object, ...] = ()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the table on the terminal while the context lasts."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=False) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def show(self, view: View) -> None:
        """Show ``view``; on something else than a terminal only if it tells something new."""
        if self._json_status is not None:
            _replace(self._json_status, as_json(view))
        if self._live is not None:
            self._live.update(table(view), refresh=True)
        elif topic(view) != self._topic:
            self._topic = topic(view)
            self.say(line(view))

    def say(self, text: str) -> None:
        """Write one line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _replace(path: Path, text: str) -> None:
    """Write ``path`` so that a reader sees the old or the new text, never half of one."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.write_text(text + "\n")
    scratch.replace(path)
