"""The simulator's model of an H200 held against figures recorded on one; see the file for whence.

The recorded loads are known by their means only, so the simulated lengths follow another
distribution of the same means (`shapes.SHORT_CHAT`): part of each error is the workload's. Several
seeds tell how much a run of 60 s says at all.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.machine.step_time import StepTimes
from superinfer_runtime.sim.policies import policy_named
from superinfer_runtime.sim.report.accuracy import Comparison, spreads
from superinfer_runtime.sim.report.summary import Summary, summarize
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.stock_scheduler import EngineLimits
from superinfer_runtime.sim.workload.planned import slo_classes_of
from superinfer_runtime.sim.workload.scenarios import scenarios

FILE = Path(__file__).parents[2] / "benchmarks" / "results" / "h200-stock-reference.json"
SEEDS = (0, 1, 2)
HBM_SHARE_RATIO = 0.92 / 0.9
"""vLLM 0.26.0 takes 0.92 of HBM by default, the simulator 0.9; the recorded blocks must fit."""
FIGURES = {
    "ttft_attainment": "ttft_attainment",
    "gap_attainment": "gap_attainment",
    "tokens_per_s": "output_tokens_per_s",
}
"""Recorded name -> name of the simulator's summary."""


def compare_with_gpu() -> dict[str, Any]:
    """Return every recorded figure, what the simulator says, and the error."""
    reference = json.loads(FILE.read_text())
    serving = [_serving(reference, run) for run in reference["serving"]]
    steps = [_step(reference, step) for step in reference["decode_steps"]]
    by_name = [run["figures"] for run in serving] + [{"decode_step_s": s["step"]} for s in steps]
    errors = spreads(
        {
            name: Comparison(figure["real"], figure["simulated"], name.endswith("_attainment"))
            for name, figure in figures.items()
        }
        for figures in by_name
    )
    return {
        "serving": serving,
        "decode_steps": steps,
        "errors": {name: asdict(spread) for name, spread in errors.items()},
    }


def _serving(reference: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    totals = [_simulated(reference, run, seed) for seed in SEEDS]
    figures = {}
    for name, real in run["measured"].items():
        each = [getattr(total, FIGURES[name]) for total in totals]
        comparison = Comparison(real, fmean(each), name.endswith("_attainment"))
        figures[name] = {
            "real": real,
            "simulated": comparison.simulated,
            "lowest": min(each),
            "highest": max(each),
            "error": comparison.error,
        }
    return {
        "rate": run["rate"],
        "hbm_blocks": run["hbm_blocks"],
        "max_num_batched_tokens": run["max_num_batched_tokens"],
        "figures": figures,
    }


def _simulated(reference: dict[str, Any], run: dict[str, Any], seed: int) -> Summary:
    limits = EngineLimits(
        max_num_seqs=run["max_num_seqs"], max_num_batched_tokens=run["max_num_batched_tokens"]
    )
    machine = hardware(reference["hardware"])
    machine = replace(machine, hbm_bytes=machine.hbm_bytes * HBM_SHARE_RATIO)
    deployment = Deployment(known_model(reference["model"]), machine, limits)
    deployment = replace(deployment, hbm_kv_bytes=run["hbm_blocks"] * deployment.block_bytes)
    classes = slo_classes_of([LoadClass("default", 1.0, reference["ttft_s"], reference["tbt_s"])])
    requests = scenarios()["short-chat"].make(run["rate"], run["arrivals_s"], seed)
    return summarize(simulate(requests, classes, deployment, policy_named("stock"))).total


def _step(reference: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    costs = StepTimes(known_model(step["model"]), hardware(reference["hardware"]))
    count = step["num_decodes"]
    comparison = Comparison(
        step["measured_s"], costs.step_s(count, count * step["context_tokens"], [], count)
    )
    return {
        "model": step["model"],
        "context_tokens": step["context_tokens"],
        "step": asdict(comparison) | {"error": comparison.error},
    }
