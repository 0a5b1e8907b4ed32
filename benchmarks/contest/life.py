"""One life of one engine, in a process of its own: start, warm up, and one run after the other.

    python -m contest.life JOB.json EVENTS.jsonl

It is vLLM's `AsyncLLM` as its own server uses it: engine core in another process, asynchronous
scheduling where vLLM has it. Between two runs everything is idle. What happens is appended to
EVENTS, a JSON object a line: ``started``, ``begun`` and ``row`` per run, ``ended``. An engine that
dies takes this process along: that is an error to the parent, never a row.
"""

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from contest.driving import LiveEngine
from contest.engines import engine_arguments, kv_blocks, max_model_tokens
from contest.loads import all_classes, hang_ups, load_named, planned, prompts
from contest.models import shape_of, write_config
from contest.rows import identity, measured
from contest.setup import Job, Run
from contest.spot_check import chosen, compared
from contest.timed_schedulers import TIMES_FILE_VARIABLE, read_times
from contest.watch import EngineWatch

Tell = Callable[[str, dict[str, Any]], None]


def main() -> None:
    job = Job.from_json(json.loads(Path(sys.argv[1]).read_text()))
    with Path(sys.argv[2]).open("a") as events:

        def tell(event: str, data: dict[str, Any]) -> None:
            events.write(json.dumps({"event": event, **data}) + "\n")
            events.flush()

        with tempfile.TemporaryDirectory() as folder:
            if job.setup.time_scheduler:
                os.environ[TIMES_FILE_VARIABLE] = str(Path(folder, "scheduler-times.json"))
            # As vLLM's own server does.
            uvloop.run(live(job, str(write_config(job.setup.model, Path(folder))), tell))


async def live(job: Job, model_folder: str, tell: Tell) -> None:
    """Do as many of the job's runs as its time allows."""
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    setup = job.setup
    started_s = time.monotonic()
    classes = all_classes([run.workload for run in job.runs], setup.traces)
    arguments = engine_arguments(job.engine, setup, model_folder, classes)
    watch = EngineWatch()
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=[watch])
    try:
        num_blocks = engine.vllm_config.cache_config.num_gpu_blocks
        if num_blocks != kv_blocks(job.engine, setup):
            raise RuntimeError(
                f"vLLM made {num_blocks} KV blocks of {kv_blocks(job.engine, setup)} asked for"
            )
        live_engine = LiveEngine(engine, watch, shape_of(setup.model).vocab)
        await live_engine.warm_up()
        if trouble := watch.trouble():
            raise RuntimeError(f"KV rotation is off: {trouble}")
        gc.collect()
        gc.freeze()
        described = {
            "start_s": round(time.monotonic() - started_s, 1),
            "async_scheduling": bool(engine.vllm_config.scheduler_config.async_scheduling),
            "link_gb_per_s": watch.link_gb_per_s(),
            "cards": os.environ.get("CUDA_VISIBLE_DEVICES", "all"),
        }
        tell("started", described)
        for run in job.runs:
            if time.time() + setup.seconds + setup.drain_s > job.stop_at_s:
                break
            tell("begun", {"workload": run.workload, "rate": run.rate})
            row = await one_run(job, run, live_engine)
            tell(
                "row",
                {"row": {**identity(job.engine, setup, run), **row, "engine_start": described}},
            )
        tell("ended", {})
    finally:
        engine.shutdown()


async def one_run(job: Job, run: Run, live_engine: LiveEngine) -> dict[str, Any]:
    """Offer one load to an idle engine, and leave it idle."""
    setup = job.setup
    load = load_named(run.workload, setup.traces)
    requests = planned(load, run, setup, max_model_tokens(setup.model))
    ids = prompts(requests, run, setup.seed, live_engine.vocabulary)
    before = totals(live_engine.watch)
    driven = await live_engine.drive(
        f"{run.workload}-{run.rate:g}",
        requests,
        ids,
        hang_ups(load, requests, setup.seed),
        setup.seconds,
        setup.drain_s,
    )
    await live_engine.settle()
    counted = {
        name: total - before.get(name, 0) for name, total in totals(live_engine.watch).items()
    }
    row = measured(
        driven.drive, load.classes, len(requests), driven.tokens_while_offered, setup.seconds
    )
    again = [requests[index] for index in chosen(sorted(driven.answers), setup.spot_checks)]
    if again:
        checked = compared(driven.answers, await live_engine.asked_again(again, ids))
        row |= {"spot_checks": asdict(checked)}
        await live_engine.settle()
    return {**row, **{name: round(count, 4) for name, count in counted.items()}}


def totals(watch: EngineWatch) -> dict[str, float]:
    times_file = os.environ.get(TIMES_FILE_VARIABLE)
    return watch.totals() | read_times(Path(times_file) if times_file else None)


if __name__ == "__main__":
    main()
