"""A command whose arguments after ``--`` go to another program untouched.

The parser of the command line would take the first of them for a missing positional argument.
"""

from typing import Any

import typer
from typer.core import TyperCommand

_META_KEY = "superinfer.pass_through"


class PassThroughCommand(TyperCommand):
    """Splits the command line at the first ``--``; `passed_through` returns what follows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta[_META_KEY] = args[:cut], args[cut + 1 :]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def passed_through(ctx: typer.Context) -> list[str]:
    """Return the arguments after ``--``."""
    arguments: list[str] = ctx.meta.get(_META_KEY, [])
    return arguments
