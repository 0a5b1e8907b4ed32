"""The schedulers with a watch on: what they take of each step, told through two small files.

Only for finding out (``--time-scheduler``); an engine that is compared has its scheduler bare. One
file is replaced about once a second and holds totals since the start; to the other, CSV, a line a
step is appended: when the step was planned, and what then ran, waited, was out and was free.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from contest.setup import STEPS_FILE_VARIABLE
from superinfer_runtime.engine.scheduler import RotaScheduler
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

TIMES_FILE_VARIABLE = "CONTEST_SCHEDULER_TIMES"
WRITE_INTERVAL_S = 1.0
STEP_COLUMNS = (
    "planned_s",
    "schedule_s",
    "running",
    "waiting",
    "parked",
    "tokens",
    "budget_tokens",
    "free_blocks",
)
"""Times in seconds, the first one monotonic; ``parked`` is 0 with stock vLLM."""


class Timed:
    """Goes before a scheduler among a class's bases."""

    _scheduler_steps = 0
    _schedule_s = 0.0
    _update_s = 0.0
    _written_s = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._steps = [",".join(STEP_COLUMNS)]

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        start_s = time.perf_counter()
        output = super().schedule(*args, **kwargs)  # type: ignore[misc]
        took_s = time.perf_counter() - start_s
        self._schedule_s += took_s
        self._steps.append(self._step(output, took_s))
        return output

    def _step(self, output: Any, took_s: float) -> str:
        me: Any = self
        values = (
            f"{time.monotonic():.4f}",
            f"{took_s:.6f}",
            len(me.running),
            len(me.waiting) + len(me.skipped_waiting),
            len(getattr(me, "_parked", ())),
            output.total_num_scheduled_tokens,
            me.max_num_scheduled_tokens,
            me.kv_cache_manager.block_pool.get_num_free_blocks(),
        )
        return ",".join(map(str, values))

    def update_from_output(self, *args: Any, **kwargs: Any) -> Any:
        start_s = time.perf_counter()
        outputs = super().update_from_output(*args, **kwargs)  # type: ignore[misc]
        end_s = time.perf_counter()
        self._update_s += end_s - start_s
        self._scheduler_steps += 1
        if end_s - self._written_s >= WRITE_INTERVAL_S:
            self._written_s = end_s
            self._write(Path(os.environ[TIMES_FILE_VARIABLE]))
        return outputs

    def _write(self, path: Path) -> None:
        totals = {
            "scheduler_steps": self._scheduler_steps,
            "schedule_s": self._schedule_s,
            "update_s": self._update_s,
        }
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(totals))
        partial.replace(path)
        with Path(os.environ[STEPS_FILE_VARIABLE]).open("a") as steps:
            steps.write("\n".join([*self._steps, ""]))
        self._steps.clear()


class TimedStock(Timed, AsyncScheduler):
    """vLLM's own."""


class TimedRota(Timed, RotaScheduler):
    """Ours."""


def read_times(path: Path | None) -> dict[str, float]:
    """Totals so far; empty where nobody keeps time."""
    if path is None or not path.exists():
        return {}
    times: dict[str, float] = json.loads(path.read_text())
    return times
