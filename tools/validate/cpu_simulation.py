"""The simulated twin of the CPU server: its costs from the calibration load alone, the rest as set.

Steps are synchronous, as vLLM's are on a CPU; prompts share no prefix. HTTP and tokenising come
before the engine and its steps: a constant, how much longer sparse calibration requests waited for
their first token than in the simulation of the same requests.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from plan import MAX_NUM_BATCHED_TOKENS, RUN_QUANTUM_S, SCENARIO, sparse_requests
from recorded_server import StepLog
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.duplexkv.copy_engine import LinkCalibration
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import Hardware
from superinfer_runtime.sim.machine.link import LinkSpec
from superinfer_runtime.sim.machine.measured_steps import Fit, StepObservation, fit
from superinfer_runtime.sim.machine.model_shape import ModelShape
from superinfer_runtime.sim.policies import policy_named
from superinfer_runtime.sim.report.summary import RunSummary, summarize
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.stock_scheduler import EngineLimits
from superinfer_runtime.sim.workload.planned import requests_of, slo_classes_of

NO_LINK = LinkCalibration(inf, inf, inf)
"""Of a server that moves no KV: never asked."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned of one server before any load that is compared."""

    hbm_blocks: int
    fit: Fit
    link: LinkCalibration | None
    """None: the server moves no KV."""
    front_s: float
    """From sending a request to the engine's queue, and from the engine back to the client."""
    model: ModelShape


def calibrate(
    log: StepLog, steps: Sequence[StepObservation], sparse: Report, model: Path
) -> Calibration:
    """Learn from the steps of the calibration load and from its sparse part.

    Raises:
        ValueError: too few steps, or not one request of the sparse part was served.
    """
    shape = ModelShape.from_config(json.loads((model / "config.json").read_text()), "tiny")
    found = Calibration(log.hbm_blocks, fit(steps), log.link, 0.0, shape)
    expected, _ = simulated(sparse_requests(), "stock", found)
    if sparse.total.ttft_s is None or expected.total.ttft_s is None:
        raise ValueError("no request of the sparse part was served")
    return replace(found, front_s=max(sparse.total.ttft_s.p50 - expected.total.ttft_s.p50, 0.0))


def simulated(
    workload: Workload, policy: str, calibration: Calibration
) -> tuple[RunSummary, float]:
    """Serve the workload; return the figures and when the last token came, in seconds."""
    front_s = calibration.front_s
    requests = [
        replace(request, arrival_s=request.arrival_s + front_s) for request in requests_of(workload)
    ]
    result = simulate(
        requests,
        slo_classes_of(workload.classes),
        _deployment(calibration),
        policy_named(policy),
        costs=calibration.fit.costs,
    )
    seen = [replace(r, arrival_s=r.arrival_s - front_s) for r in result.records]
    return summarize(replace(result, records=seen)), max(record.finish_s for record in seen)


def _deployment(calibration: Calibration) -> Deployment:
    args = SCENARIO.engine_args
    limits = EngineLimits(
        block_size=args["block-size"],
        max_num_seqs=args["max-num-seqs"],
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
        max_model_len=args["max-model-len"],
        async_scheduling=False,
    )
    block_bytes = calibration.model.kv_bytes_per_token * limits.block_size
    return Deployment(
        calibration.model,
        _machine(calibration.link or NO_LINK),
        limits,
        SchedulerKnobs(run_quantum_s=RUN_QUANTUM_S),
        hbm_kv_bytes=calibration.hbm_blocks * block_bytes,
        dram_kv_bytes=SCENARIO.dram_initial_bytes,
    )


def _machine(link: LinkCalibration) -> Hardware:
    """Its link as calibrated, for the segments that it has; no step asks for anything else."""
    whole = ((1, 1.0),)
    return Hardware(
        name="this CPU",
        hbm_bytes=1e12,
        hbm_bytes_per_s=inf,
        peak_flops=inf,
        dram_bytes=SCENARIO.dram_initial_bytes,
        link=LinkSpec(
            out_bytes_per_s=link.out_bytes_per_s,
            in_bytes_per_s=link.in_bytes_per_s,
            duplex_bytes_per_s=link.duplex_bytes_per_s,
            one_way_shares=whole,
            duplex_shares=whole,
            staged_share=None,
            fixed_s=0.0,  # A thread that waits takes the job at once.
            pin_s_per_byte=0.0,  # All slabs are there before the first request.
            decode_slowdown=0.0,  # In the observed steps.
        ),
        cpu_step_s=0.0,
        cpu_request_s=0.0,
        launch_s=0.0,
    )
