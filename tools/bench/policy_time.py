"""How long one decision of RotaSched takes, by the number of requests it decides on.

One third of the requests run, one third wait, one third are rotated out. Garbage collection is as
in production: on, with what lived before the measurement frozen, as vLLM does after its start.
Wall time counts what other processes take of a shared core, too; the thread's CPU time does not.
"""

import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.rotasched import Iteration, decide

SIZES = (100, 1_000, 10_000)
NOW_S = 1000.0
MEASURE_S = 2.0
MIN_REPETITIONS = 200


def decision_times_ms(*, contended: bool) -> dict[str, dict[str, float]]:
    """p50 and p99 of one decision, in milliseconds, for each number of requests."""
    return {str(size): _percentiles(_iteration(size, contended=contended)) for size in SIZES}


def _percentiles(iteration: Iteration) -> dict[str, float]:
    knobs = SchedulerKnobs()
    decision = decide(iteration, knobs)
    wall_s: list[float] = []
    cpu_s: list[float] = []
    with _frozen_heap():
        end_s = time.perf_counter() + MEASURE_S
        while len(wall_s) < MIN_REPETITIONS or time.perf_counter() < end_s:
            start_cpu_s, start_s = time.thread_time(), time.perf_counter()
            decision = decide(iteration, knobs)
            wall_s.append(time.perf_counter() - start_s)
            cpu_s.append(time.thread_time() - start_cpu_s)
    p50, p99 = np.percentile(wall_s, [50, 99]) * 1e3
    return {
        "p50": round(float(p50), 4),
        "p99": round(float(p99), 4),
        "p99_cpu": round(float(np.percentile(cpu_s, 99)) * 1e3, 4),
        "repetitions": len(wall_s),
        "rotations": len(decision.rotate_out) + len(decision.rotate_in),
    }


def _iteration(size: int, *, contended: bool) -> Iteration:
    """Requests of a service under its paper's objectives, at all ages; late ones too."""
    rng = random.Random(size)
    targets = Targets(ttft_s=5.0, tbt_s=0.1)
    running: list[Candidate] = []
    waiting: list[Candidate] = []
    rotary: list[Candidate] = []
    for number in range(size):
        candidate = Candidate(
            str(number), targets, NOW_S, blocks=rng.randint(5, 60), max_tokens=1000
        )
        group = (running, waiting, rotary)[number % 3]
        group.append(candidate)
        if group is waiting:
            candidate.arrival_s -= rng.uniform(0.0, 8.0)
            continue
        candidate.arrival_s -= rng.uniform(5.0, 40.0)
        candidate.first_token_s = candidate.arrival_s + rng.uniform(0.1, 5.5)
        candidate.num_tokens = rng.randint(1, 600)
        candidate.dram_blocks = 1
        candidate.rotatable = group is running
        candidate.run_start_s = NOW_S - rng.uniform(0.0, 5.0)
        candidate.last_token_s = NOW_S - (0.05 if group is running else rng.uniform(0.0, 5.0))
    waiting.sort(key=lambda candidate: candidate.arrival_s)
    return Iteration(
        now_s=NOW_S,
        running=running,
        waiting=waiting,
        rotary=rotary,
        free_blocks=100 if contended else 60 * size,
        growth_blocks=50,
        free_dram_blocks=60 * size,
        transfer_blocks=600,
    )


@contextmanager
def _frozen_heap() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
