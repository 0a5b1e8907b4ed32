"""Engines' lives as the contest sees them: a process each, followed by events, ended in time."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contest.setup import STEPS_FILE_VARIABLE, Job

BENCHMARKS = Path(__file__).resolve().parents[1]
POLL_S = 0.2
LAST_WORDS_S = 15.0
"""For an orderly end after the time is up; then the process and all its children are killed."""
LOG_TAIL_BYTES = 2_000
_CAUSE = re.compile(r"\b\w*(Error|Exception): .+")


class LifeFailed(Exception):
    """The engine did not start, died, or gave a wrong count; the message says what its log says."""


def live_through(
    job: Job,
    log: Path,
    on_event: Callable[[dict[str, Any]], None],
    module: str = "contest.life",
) -> None:
    """Run one life, handing each of its events on as it comes.

    Raises:
        LifeFailed: it did not come to its end.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
        order, events = Path(folder, "job.json"), Path(folder, "events.jsonl")
        order.write_text(json.dumps(job.to_json()))
        events.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(order), str(events)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment() | {STEPS_FILE_VARIABLE: str(log.with_suffix(".steps.csv"))},
            start_new_session=True,
        )
        try:
            _follow(process, events, job.stop_at_s, on_event)
        finally:
            _end(process)
    if process.returncode:
        raise LifeFailed(f"ended with status {process.returncode}: {cause(log)}")


def _follow(
    process: subprocess.Popen[bytes],
    events: Path,
    stop_at_s: float,
    on_event: Callable[[dict[str, Any]], None],
) -> None:
    with events.open() as lines:
        partial = ""
        while True:
            has_ended = process.poll() is not None  # first, so that its last words are read below
            partial += lines.read()
            *whole, partial = partial.split("\n")
            for line in whole:
                on_event(json.loads(line))
            if has_ended:
                return
            if time.time() > stop_at_s + LAST_WORDS_S:
                raise LifeFailed("it was still busy when the time was up")
            time.sleep(POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind: an engine core that outlives its parent would hold the GPU."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        for _ in range(int(LAST_WORDS_S / POLL_S)):  # the next engine wants the memory back
            os.killpg(process.pid, 0)
            time.sleep(POLL_S)


def environment() -> dict[str, str]:
    """This process's environment, offline, with the contest importable in the engine core too."""
    paths = [str(BENCHMARKS), os.environ.get("PYTHONPATH", "")]
    return {
        # On a CPU vLLM keeps one core free of its workers, two beside a KV connector, or none where
        # there are but two: so that all engines compute on the same cores.
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
    }


def cause(log: Path) -> str:
    """The first error that a log tells of (vLLM's last one only says that there was one), and its
    end."""
    text = log.read_text(errors="replace")
    first = _CAUSE.search(text)
    return (f"{first[0]}\n...\n" if first else "") + text[-LOG_TAIL_BYTES:]
