"""Why an engine process died, in one line.

vLLM's engine runs in processes of its own; when one fails, the API process learns only that it did,
the reason is somewhere in the log. Those processes read their logging configuration from the file
that ``VLLM_LOGGING_CONFIG_PATH`` names, so they are given vLLM's own configuration and one handler
more, which notes logged exceptions in a file that the API process reads. A user's own logging
configuration is left alone; then there is no note.
"""

import copy
import json
import logging
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

CONFIG_PATH_VARIABLE = "VLLM_LOGGING_CONFIG_PATH"
_LONGEST_CAUSE = 500


class CrashNoteHandler(logging.Handler):
    """Appends the exception of each record that carries one to ``path``."""

    def __init__(self, path: str) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        try:
            with open(self._path, "a") as file:
                file.write(json.dumps(one_line(error)) + "\n")
        except OSError:
            self.handleError(record)


def one_line(error: BaseException) -> str:
    """Return ``Type: message`` without line breaks, cut to a readable length."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if len(line) <= _LONGEST_CAUSE else line[:_LONGEST_CAUSE] + "..."


def install(
    folder: Path,
    vllm_logging: Mapping[str, Any],
    environment: MutableMapping[str, str] = os.environ,
) -> Path:
    """Make processes started from now on note their exceptions; return the note's path.

    Call it after `vllm.entrypoints.openai.cli_args` is imported: that reads the variable too, for
    uvicorn's logging.
    """
    note = folder / "crash-note"
    configures = environment.get("VLLM_CONFIGURE_LOGGING", "1") != "0"
    if configures and CONFIG_PATH_VARIABLE not in environment:
        path = folder / "logging.json"
        path.write_text(json.dumps(_with_note(vllm_logging, note)))
        environment[CONFIG_PATH_VARIABLE] = str(path)
    return note


def cause(note: Path) -> str | None:
    """Return the first noted exception: later ones follow from it."""
    try:
        lines = note.read_text().splitlines()
    except OSError:
        return None
    return str(json.loads(lines[0])) if lines else None


def _with_note(vllm_logging: Mapping[str, Any], note: Path) -> dict[str, Any]:
    config = copy.deepcopy(dict(vllm_logging))
    config["handlers"]["crash_note"] = {
        "class": f"{CrashNoteHandler.__module__}.{CrashNoteHandler.__qualname__}",
        "path": str(note),
    }
    config["loggers"]["vllm"]["handlers"].append("crash_note")
    return config
