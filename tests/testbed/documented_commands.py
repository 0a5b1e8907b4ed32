"""What becomes of each documented command in the tests: tests/docs/commands.toml, read and checked.

A command is run where its page or section says, or it stands in the table with what runs it instead
or why its arguments are only checked, or the same command is run on another page. Nothing else.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import split
from typing import Any

import typer
from documents import ROOT, Command, commands, pages

TABLE = ROOT / "tests" / "docs" / "commands.toml"
PLACES = ("shell", "box", "cluster")


@dataclass(frozen=True, slots=True)
class Table:
    """The file; see its own comments."""

    places: Mapping[str, str]
    servers: Mapping[str, str]
    elsewhere: Mapping[str, str]
    parsed: Mapping[str, str]

    @classmethod
    def read(cls, path: Path = TABLE) -> "Table":
        return cls(**tomllib.loads(path.read_text()))

    def place(self, command: Command) -> str | None:
        """Where the command is run; None: it is not run for its page's sake."""
        if entry(self.elsewhere, command) or entry(self.parsed, command):
            return None
        section = f"{command.page}#{command.section}"
        return self.places.get(section, self.places.get(command.page))

    def run_in(self, place: str) -> list[Command]:
        """Commands to run in a place, page by page in the table's order."""
        listed = dict.fromkeys(where.partition("#")[0] for where in self.places)
        return [c for page in listed for c in commands(page) if self.place(c) == place]

    def until(self, command: Command) -> str | None:
        """What tells that a command which does not end has come far enough; None: it ends."""
        key = entry(self.servers, command)
        return self.servers[key] if key else None


def entry(table: Mapping[str, str], command: Command) -> str | None:
    """The key of the entry that names the command: as it stands, or with ``*``."""
    bare = command.bare
    if bare in table:
        return bare
    return next((key for key in table if "*" in key and fnmatchcase(bare, key)), None)


def all_commands() -> list[Command]:
    return [command for page in pages() for command in commands(page)]


def not_accounted_for(table: Table, listed: Sequence[Command]) -> list[str]:
    """Commands that nothing runs and the table does not name."""
    run = {command.bare for command in listed if table.place(command)}
    return [
        str(command)
        for command in listed
        if command.bare not in run
        and not entry(table.elsewhere, command)
        and not entry(table.parsed, command)
    ]


def stale(table: Table, listed: Sequence[Command]) -> list[str]:
    """Entries of the table that no page needs any more."""
    found = []
    for named in (table.servers, table.elsewhere, table.parsed):
        used = {entry(named, command) for command in listed}
        found += [key for key in named if key not in used]
    sections = {f"{command.page}#{command.section}" for command in listed}
    sections |= {command.page for command in listed}
    return found + [where for where in table.places if where not in sections]


def check_arguments(command: Command) -> None:
    """Let the command's own parser read its arguments, and nothing more.

    Raises:
        AssertionError: it refuses them, or none is known for this program.
    """
    program, *arguments = split(command.bare)
    match program:
        case "superinfer" | "superinfer-operator":
            _check_typer(program, arguments)
        case "make":
            ran = subprocess.run(
                ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True
            )
            assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        case "python":
            _check_script(command, arguments)
        case _:
            raise AssertionError(f"{command}: no parser is known for {program}")


def _check_typer(program: str, arguments: list[str]) -> None:
    if program == "superinfer":
        from superinfer_runtime.cli import app
    else:
        from superinfer_operator.cli import app
    group: Any = typer.main.get_command(app)
    with group.make_context(program, list(arguments)) as context:
        name, found, rest = group.resolve_command(context, list(arguments))
        # The real parser: unknown options, types, ranges and missing arguments are errors here.
        found.make_context(name, rest, parent=context).close()


def _check_script(command: Command, arguments: list[str]) -> None:
    """Its own help must name each option."""
    script, *options = arguments
    ran = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, f"{command}\n{ran.stderr}"
    flags = [option.partition("=")[0] for option in options if option.startswith("--")]
    assert [flag for flag in flags if flag not in ran.stdout] == [], str(command)
