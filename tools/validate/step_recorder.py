"""vLLM's scheduler and ours, writing down what each step computed and how long it took.

A line of JSON a step, to the file that the environment names. A step lasts from its scheduling to
the next one's while there is work, so that what the engine does between two steps is counted in;
the last one before the engine falls idle ends with its output. Decisions are left alone.
"""

import json
import os
import time
from typing import Any

from recorded_server import LOG_VARIABLE
from superinfer_runtime.engine.scheduler import RotaScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput


class _Recording:
    """Mixed in before a scheduler with synchronous steps."""

    requests: Any
    kv_cache_config: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log = open(os.environ[LOG_VARIABLE], "a", buffering=1)  # noqa: SIM115
        self._step: dict[str, Any] | None = None
        self._end_s = 0.0
        self._note({"hbm_blocks": self.kv_cache_config.num_blocks - 1})  # less vLLM's null block

    def schedule(self, *args: Any, **kwargs: Any) -> SchedulerOutput:
        now_s = time.monotonic()
        if self._step is not None:
            self._finish_step(now_s)
        output = super().schedule(*args, **kwargs)  # type: ignore[misc]
        if output.total_num_scheduled_tokens:
            self._step = {"start_s": now_s} | self._work(output)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(  # type: ignore[misc]
            scheduler_output, model_runner_output
        )
        self._end_s = time.monotonic()
        if self._step is not None and not self.requests:
            self._finish_step(self._end_s)
        return outputs

    def _work(self, output: SchedulerOutput) -> dict[str, int]:
        decodes = context = chunks = prefill = 0
        for request_id, count in output.num_scheduled_tokens.items():
            request = self.requests[request_id]
            computed = request.num_computed_tokens  # those of this step among them
            if count == 1 and computed > request.num_prompt_tokens:
                decodes += 1
                context += computed
            else:
                chunks += 1
                prefill += count
        return {
            "num_decodes": decodes,
            "decode_context_tokens": context,
            "num_chunks": chunks,
            "prefill_tokens": prefill,
        }

    def _finish_step(self, end_s: float) -> None:
        assert self._step is not None
        self._note(self._step | {"step_s": end_s - self._step["start_s"]})
        self._step = None

    def _note(self, entry: dict[str, Any]) -> None:
        self._log.write(json.dumps(entry) + "\n")


class RecordingStock(_Recording, Scheduler):
    """vLLM's own scheduler, recorded."""


class RecordingRota(_Recording, RotaScheduler):
    """RotaSched, recorded; tells the link's calibration once it is known, too."""

    _told_link = False

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        link = self._residency.link
        if link is not None and not self._told_link:
            self._told_link = True
            self._note(
                {
                    "out_bytes_per_s": link.out_bytes_per_s,
                    "in_bytes_per_s": link.in_bytes_per_s,
                    "duplex_bytes_per_s": link.duplex_bytes_per_s,
                }
            )
        return outputs
