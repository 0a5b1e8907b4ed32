"""A real server as a child, from its start to its end, and what its recording scheduler wrote."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from superinfer_runtime.duplexkv.copy_engine import LinkCalibration
from superinfer_runtime.sim.machine.measured_steps import StepObservation

LOG_VARIABLE = "SUPERINFER_STEP_LOG"
"""In the server's environment: where its scheduler writes steps."""
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 45.0
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # One thread for the model: HTTP and the load need a core of their own, as in the demo.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class StepLog:
    """What one server wrote."""

    hbm_blocks: int
    link: LinkCalibration | None
    steps: tuple[tuple[float, StepObservation], ...]
    """(start on the monotonic clock in seconds, the step)"""

    def between(self, start_s: float, end_s: float) -> list[StepObservation]:
        return [step for began_s, step in self.steps if start_s <= began_s < end_s]


class RecordedServer:
    """A context manager: inside it the server is ready at `url`."""

    def __init__(self, config: dict[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{config['server']['port']}"
        self._config = folder / "runtime.json"
        self._config.write_text(json.dumps(config, indent=2) + "\n")
        self._output = folder / "log.txt"
        self._steps = folder / "steps.jsonl"
        self._steps.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        serve = Path(__file__).with_name("recorded_serve.py")
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(serve), "serve", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | ENVIRONMENT | {LOG_VARIABLE: str(self._steps.resolve())},
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

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

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/ready", timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"the server is not ready:\n{self._output.read_text()[-3000:]}")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
