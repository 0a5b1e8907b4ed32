"""A real server as a child, from its start to its end, and what its recording scheduler wrote."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superinfer_runtime.demo.child_server import ONE_THREAD, ChildServer
from superinfer_runtime.duplexkv.copy_engine import LinkCalibration
from superinfer_runtime.sim.machine.measured_steps import StepObservation

LOG_VARIABLE = "SUPERINFER_STEP_LOG"
"""In the server's environment: where its scheduler writes steps."""


@dataclass(frozen=True, slots=True)
class StepLog:
    """What one server wrote."""

    hbm_blocks: int
    link: LinkCalibration | None
    steps: tuple[tuple[float, StepObservation], ...]
    """(start on the monotonic clock in seconds, the step)"""

    def between(self, start_s: float, end_s: float) -> list[StepObservation]:
        return [step for began_s, step in self.steps if start_s <= began_s < end_s]


class RecordedServer(ChildServer):
    """A context manager: inside it the server is ready at `url`."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "runtime.json"
        file.write_text(json.dumps(config, indent=2) + "\n")
        self._steps = folder / "steps.jsonl"
        self._steps.unlink(missing_ok=True)
        serve = Path(__file__).with_name("recorded_serve.py")
        super().__init__(
            [sys.executable, str(serve), "serve", "--config", str(file)],
            f"http://127.0.0.1:{config['server']['port']}",
            folder / "log.txt",
            environment=ONE_THREAD | {LOG_VARIABLE: str(self._steps.resolve())},
        )

    def step_log(self) -> StepLog:
        """All that was written so far."""
        hbm_blocks, link, steps = 0, None, []
        for line in self._steps.read_text().splitlines():
            entry = json.loads(line)
            if "step_s" in entry:
                steps.append((entry.pop("start_s"), StepObservation(**entry)))
            elif "hbm_blocks" in entry:
                hbm_blocks = entry["hbm_blocks"]
            else:
                link = LinkCalibration(**entry)
        return StepLog(hbm_blocks, link, tuple(steps))
