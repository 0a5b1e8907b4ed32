"""Two large runs, each alone in a process of its own: how long they take and how much memory."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from superinfer_contract.slo import PAPER_DEFAULT_CLASS
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.policies import POLICIES
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.workload.loads import DrawnLoad
from superinfer_runtime.sim.workload.replay import load, open_trace

AZURE_FILE = Path("azure-llm-2023", "AzureLLMInferenceTrace_conv.csv")
REPLICAS = 100
REPLICAS_S = 60.0


def azure_hour(traces: Path, deployment: Deployment) -> dict[str, Any]:
    """The whole trace, once, at its own pace."""
    return _alone(_azure_hour, traces, deployment)


def hundred_replicas(traces: Path, deployment: Deployment) -> dict[str, Any]:
    """Azure's lengths at a hundred times the trace's mean rate, on a hundred replicas."""
    return _alone(_hundred_replicas, traces, replace(deployment, replicas=REPLICAS))


def _azure_hour(traces: Path, deployment: Deployment) -> dict[str, Any]:
    return _timed(lambda: load(traces / AZURE_FILE), deployment)


def _hundred_replicas(traces: Path, deployment: Deployment) -> dict[str, Any]:
    trace = open_trace(traces / AZURE_FILE)
    rows = tuple(trace.requests(0))
    rate = REPLICAS * len(rows) / rows[-1].arrival_s
    found = _timed(lambda: DrawnLoad(trace)(rate, REPLICAS_S, 0), deployment)
    return {"replicas": REPLICAS, "rate": rate, "duration_s": REPLICAS_S, **found}


def _timed(make: Callable[[], Sequence[SimRequest]], deployment: Deployment) -> dict[str, Any]:
    """From the trace's file to the figures."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    requests = make()
    run = simulate(requests, (PAPER_DEFAULT_CLASS,), deployment, POLICIES["rotasched"])
    summary = summarize(run)
    return {
        "policy": run.policy,
        "requests": len(requests),
        "steps": run.num_steps,
        "virtual_s": run.makespan_s,
        "joint_attainment": summary.total.joint_attainment,
        "wall_s": time.perf_counter() - wall_s,
        "cpu_s": time.process_time() - cpu_s,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as process:
        return process.submit(function, *arguments).result()
