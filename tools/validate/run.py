"""`make validate`: how far simulated runs are from real ones, here and on a recorded GPU.

python tools/validate/run.py --output out/validate.json

1. The simulator's own cost model of an H200 is held against figures recorded on one.
2. A real server, stock vLLM and then RotaSched, serves a calibration load on this CPU; what its
   steps took there is all that the simulator learns of this machine.
3. It is offered Poisson loads at three rates by the runner of `superinfer bench`, and the simulator
   the identical plans: the same requests, blocks and budgets, synchronous steps.

Two figures tell the simulator's errors from a machine that changed since calibration: the ratio of
observed to expected step times of each load, and the errors *in hindsight*, with costs fitted to
that very load. The latter are no prediction.
"""

import argparse
import asyncio
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import plan
import tables
from cpu_simulation import Calibration, calibrate
from gpu_reference import compare_with_gpu
from recorded_server import RecordedServer
from rich.console import Console
from served_twice import ServedTwice, serve_again
from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.runner import run_load
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.demo.service_process import free_port
from superinfer_runtime.sim.report.accuracy import spreads
from superinfer_runtime.tiny_model import ensure_tiny_model

POLICIES = ("stock", "rotasched")
GRACE_S = 240.0
"""After the last arrival; so long that even a disturbed machine serves all."""
log = Console(stderr=True, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("out/validate.json"))
    output: Path = parser.parse_args().output
    folder = output.parent / "validate"
    folder.mkdir(parents=True, exist_ok=True)
    log.print("the recorded figures of an H200")
    gpu = compare_with_gpu()
    before = os.getloadavg()[0]
    model = ensure_tiny_model(num_layers=plan.SCENARIO.num_layers)
    calibrations: dict[str, Calibration] = {}
    runs: list[ServedTwice] = []
    rates: dict[str, float] = {}
    for policy in POLICIES:
        log.print(f"[bold]{policy}[/]: starting the server")
        config = plan.runtime_config(policy, free_port(), model)
        with RecordedServer(config, folder / policy) as server:
            calibration, capacity = _calibrated(server, model)
            calibrations[policy] = calibration
            rates = rates or {name: share * capacity for name, share in plan.LOADS.items()}
            for name, rate in rates.items():
                load = plan.validation_load(rate)
                start_s = time.monotonic()
                report = _offer(server, load, f"{policy}, {name}: {rate:.2f} req/s")
                steps = server.step_log().between(start_s, time.monotonic())
                runs.append(serve_again(policy, name, load, report, calibration, steps))
    errors = spreads(run.comparisons for run in runs)
    hindsight_errors = spreads(run.hindsight for run in runs)
    result = {
        "runs": [run.to_json() for run in runs],
        "errors": {name: asdict(spread) for name, spread in errors.items()},
        "hindsight_errors": {name: asdict(spread) for name, spread in hindsight_errors.items()},
        "calibrations": {policy: asdict(found) for policy, found in calibrations.items()},
        "gpu_reference": gpu,
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        },
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    console = Console(width=140)
    tables.show_cpu(console, result)
    tables.show_gpu(console, gpu)
    log.print(f"written to {output}; logs are in {folder}")


def _calibrated(server: RecordedServer, model: Path) -> tuple[Calibration, float]:
    """What the server's steps cost, and how many requests a second it serves of a burst."""
    _offer(server, plan.warm_up(), "warm-up")
    start_s = time.monotonic()
    sparse = _offer(server, plan.sparse_requests(), "calibration, sparse requests")
    saturated = _offer(server, plan.burst(), "calibration, a burst")
    steps = server.step_log()
    found = calibrate(steps, steps.between(start_s, time.monotonic()), sparse, model)
    return found, saturated.total.completed / saturated.duration_s


def _offer(server: RecordedServer, load: Workload, title: str) -> Report:
    log.print(title)
    return asyncio.run(run_load(Endpoint(server.url), load, grace_s=GRACE_S))


if __name__ == "__main__":
    main()
