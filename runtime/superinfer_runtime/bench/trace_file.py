"""Open a trace of whichever format: the one place that knows them all."""

import csv
import json
from pathlib import Path

from superinfer_runtime.bench.servegen import read_servegen
from superinfer_runtime.bench.traces import Trace, TraceError, parse_log, read_text

KNOWN_FORMATS = "Azure CSV, Mooncake JSON lines, lengths CSV (num_prefill_tokens,...), ServeGen"


def read_trace(path: Path) -> Trace:
    """Read a trace file, or a folder of ServeGen clients.

    Raises:
        TraceError: unreadable, broken, empty or in no known format.
    """
    if path.is_dir():
        return read_servegen(path)
    text = read_text(path)
    if log := parse_log(text, path.name):
        return log
    if _is_servegen_windows(text) or _is_servegen_dataset(text):
        return read_servegen(path)
    raise TraceError(f"trace {path.name} is in no known format ({KNOWN_FORMATS})")


def _is_servegen_windows(text: str) -> bool:
    row = next(csv.reader([text.lstrip().partition("\n")[0]]), [])
    return len(row) == 6 and row[3] in ("", "Gamma", "Weibull")


def _is_servegen_dataset(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        windows = json.loads(text)
    except ValueError:
        return False
    return bool(windows) and all(
        isinstance(window, dict) and {"input_tokens", "output_tokens"} <= window.keys()
        for window in windows.values()
    )
