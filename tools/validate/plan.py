"""What is served to compare the simulator with, by whom, and under which loads: the demo's service.

The model, budgets and objectives are the demo's; arrivals are Poisson, and the DRAM budget stays as
it is, since the simulator has no operator. Calibration and validation draw from different seeds.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.demo.scenario import MIB, Scenario

SCENARIO = Scenario(dram_initial_bytes=96 * MIB, duration_s=35.0)
MAX_NUM_BATCHED_TOKENS = 1024
LOADS = {"idle": 0.4, "near saturation": 0.9, "overload": 1.4}
"""Arrival rates as shares of what stock vLLM serves of a burst."""
SPARSE_RATE = 0.4
SPARSE_DURATION_S = 25.0
"""Calibration, first part: one or two requests at a time, which take some 2 s each."""
BURST_REQUESTS = 48
"""Second part: all at once, twice what HBM holds of them."""
RUN_QUANTUM_S = 0.2
"""The demo's."""


def runtime_config(policy: str, port: int, model: Path) -> dict[str, Any]:
    """Return the `RuntimeConfig` of the service; ``policy`` is stock or rotasched."""
    scenario = SCENARIO
    engine_args = scenario.engine_args | {"max-num-batched-tokens": MAX_NUM_BATCHED_TOKENS}
    if policy == "stock":
        engine_args["scheduler-cls"] = "step_recorder.RecordingStock"
    return {
        "policy": policy,
        "model": str(model),
        "engine_args": engine_args,
        "slo_classes": [
            {
                "name": load_class.name,
                "ttft_s": load_class.ttft_s,
                "tbt_s": load_class.tbt_s,
                "default": number == 0,
            }
            for number, load_class in enumerate(scenario.classes)
        ],
        "kv_cache": {
            "hbm": {"min": scenario.hbm_bytes, "max": scenario.hbm_bytes},
            "dram": {"max": scenario.dram_initial_bytes},
            "slab": scenario.slab_bytes,
        },
        "scheduler": {"run_quantum_s": RUN_QUANTUM_S},
        "server": {"port": port, "drain_s": 10},
    }


def warm_up() -> Workload:
    """The demo's short burst: what a server does for the first time takes longer."""
    return SCENARIO.saturating_load()


def sparse_requests() -> Workload:
    """Calibration, first part."""
    return replace(
        SCENARIO.load(SPARSE_RATE),
        process=ArrivalProcess.POISSON,
        burstiness=1.0,
        duration_s=SPARSE_DURATION_S,
        seed=SCENARIO.seed + 1,
    )


def burst() -> Workload:
    """Calibration, second part."""
    return replace(SCENARIO.saturating_load(), max_requests=BURST_REQUESTS, seed=SCENARIO.seed + 2)


def validation_load(request_rate: float) -> Workload:
    """What both policies are offered, and the simulator."""
    return replace(SCENARIO.load(request_rate), process=ArrivalProcess.POISSON, burstiness=1.0)
