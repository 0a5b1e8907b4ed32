"""Writes the commands' options in docs/reference/cli.md: python tools/docs/cli_reference.py

What the page says above the marker is written by hand; the rest is Typer's own documentation of the
declarations that the parser and `--help` come from.
"""

from pathlib import Path
from typing import Any

import typer
from superinfer_operator.cli import app as operator_app
from superinfer_runtime.cli import app as runtime_app
from typer.cli import get_docs_for_click

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
MARKER = "<!-- The rest is made by tools/docs/cli_reference.py; a test compares. -->\n"
PROGRAMS = {"superinfer": runtime_app, "superinfer-operator": operator_app}


def reference(page: str) -> str:
    """Return ``page`` with the options as they are now.

    Raises:
        ValueError: the page has no marker.
    """
    by_hand, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"{TARGET.name} lacks the line {MARKER.strip()!r}")
    return by_hand + marker + "".join(f"\n{_options(*each)}\n" for each in PROGRAMS.items())


def _options(program: str, app: typer.Typer) -> str:
    group: Any = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=group, ctx=typer.Context(group, info_name=program), name=program, indent=1
    )
    # Usage lines are no commands that a reader enters, and every command has --help.
    kept = [line for line in text.splitlines() if not line.startswith("* `--help`")]
    return "\n".join(kept).replace("```console\n$ ", "```text\n").strip()


if __name__ == "__main__":
    TARGET.write_text(reference(TARGET.read_text()))
