"""`superinfer`: the command line of the runtime.

A command's module is imported when the command is asked for, so that none of them pays for another:
`superinfer bench` never imports vLLM, and a mistake in an option is told at once.
"""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from superinfer_runtime.server.pass_through import PassThroughCommand


@dataclass(frozen=True, slots=True)
class _Command:
    module: str
    function: str
    kind: type[TyperCommand] = TyperCommand


_COMMANDS = {
    "serve": _Command("superinfer_runtime.server.command", "serve", PassThroughCommand),
    "bench": _Command("superinfer_runtime.bench.command", "bench"),
    "plan": _Command("superinfer_runtime.sim.planning.command", "plan"),
    "simulate": _Command("superinfer_runtime.sim.evaluation.command", "simulate"),
}


class _LazyGroup(TyperGroup):
    """Imports a command's module on demand."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = _COMMANDS.get(cmd_name)
        if command is None:
            return None
        function = getattr(importlib.import_module(command.module), command.function)
        single = typer.Typer(add_completion=False)
        single.command(cmd_name, cls=command.kind)(function)
        return typer.main.get_command(single)


app = typer.Typer(
    name="superinfer",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _superinfer() -> None:
    """SLO-first LLM serving on stock vLLM."""


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
