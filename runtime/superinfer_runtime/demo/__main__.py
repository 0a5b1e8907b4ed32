"""The demo as a program: ``python -m superinfer_runtime.demo``. Ends by itself in minutes.

1. Stock vLLM serves the tiny model with a tiny KV budget: first saturated, to learn its rate, then
   under the demo's load.
2. The same service with RotaSched and DuplexKV under the same load, while the operator's loop reads
   its telemetry and resizes its DRAM budget.
3. Both side by side. Exit code 1 if the run does not show what it claims.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from superinfer_contract import exit_codes
from superinfer_contract.quantity import format_bytes

from superinfer_runtime.bench.client import Endpoint
from superinfer_runtime.bench.display import ProgressDisplay
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.runner import run_load
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.demo.child_server import ServerFailed
from superinfer_runtime.demo.result import Outcome
from superinfer_runtime.demo.scenario import Scenario
from superinfer_runtime.demo.service_process import ServiceProcess, free_port
from superinfer_runtime.tiny_model import ensure_tiny_model

console = Console(stderr=True, highlight=False)
_SAY_WAITING_EVERY_S = 10.0
_MIN_REQUEST_RATE = 0.2


def main(
    output: Annotated[Path, typer.Option(help="Where to write the result.")] = Path(
        "out/demo.json"
    ),
) -> None:
    """Serve one load twice, with stock vLLM and with RotaSched, and compare."""
    started_s = time.monotonic()
    folder = output.parent
    folder.mkdir(parents=True, exist_ok=True)
    scenario = Scenario()
    console.print("[bold]SuperInfer demo[/]: one load, one KV budget, two schedulers (CPU, no GPU)")
    model = ensure_tiny_model(num_layers=scenario.num_layers)
    try:
        outcome = _run(scenario, model, folder)
    except ServerFailed as error:
        console.print(f"error: {error}", markup=False)
        sys.exit(exit_codes.FAILURE)
    output.write_text(json.dumps(outcome.to_json(), indent=2) + "\n")

    Console().print(outcome.table())
    for step in outcome.budget_steps:
        console.print(f"budget step: {step['reason']}", markup=False)
    minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
    console.print(f"written to {output}; logs are beside it; {minutes} min {seconds} s")
    shortcomings = outcome.shortcomings()
    for shortcoming in shortcomings:
        console.print(f"not shown: {shortcoming}")
    sys.exit(exit_codes.FAILURE if shortcomings else exit_codes.OK)


def _run(scenario: Scenario, model: Path, folder: Path) -> Outcome:
    console.print(
        f"KV budget: HBM {format_bytes(scenario.hbm_bytes)}, fixed; RotaSched adds DRAM, "
        f"{format_bytes(scenario.dram_initial_bytes)} to begin with, resized by the operator"
    )
    for load_class in scenario.classes:
        console.print(
            f"class {load_class.name}: {load_class.share:.0%} of requests, first token within "
            f"{load_class.ttft_s:g} s, then one each {load_class.tbt_s * 1e3:g} ms on average"
        )
    with _serving(scenario, model, "stock", folder) as stock_service:
        saturated = _offer(stock_service, scenario.saturating_load(), "saturating load")
        capacity = saturated.total.completed / saturated.duration_s
        request_rate = max(capacity * scenario.load_share, _MIN_REQUEST_RATE)
        console.print(
            f"stock vLLM serves {capacity:.2f} req/s here when saturated; offered from now on: "
            f"{request_rate:.2f} req/s for {scenario.duration_s:g} s, in bursts "
            f"(Gamma, shape {scenario.burstiness:g}), prompts around {scenario.input_tokens} and "
            f"answers around {scenario.output_tokens} tokens"
        )
        load = scenario.load(request_rate)
        stock = _offer(stock_service, load, "stock vLLM")
    with _serving(scenario, model, "rotasched", folder) as rota_service:
        _offer(rota_service, scenario.saturating_load(), "saturating load, to warm up as before")
        rotasched = _offer(rota_service, load, "RotaSched")
        time.sleep(2.0)  # let the last telemetry arrive
        status, events = rota_service.status(), rota_service.events()
    return Outcome(scenario, request_rate, stock, rotasched, status["kv"]["activity"], events)


def _serving(scenario: Scenario, model: Path, policy: str, folder: Path) -> ServiceProcess:
    said_s = 0.0

    def on_wait(waited_s: float) -> None:
        nonlocal said_s
        if waited_s - said_s >= _SAY_WAITING_EVERY_S:
            said_s = waited_s
            console.print(f"  ... vLLM is starting ({waited_s:.0f} s)")

    console.print(f"starting the service, policy {policy}")
    return ServiceProcess(scenario.service(policy, free_port(), model), folder / policy, on_wait)


def _offer(service: ServiceProcess, load: Workload, title: str) -> Report:
    console.print(f"[bold]{title}[/]")
    with ProgressDisplay(console) as progress:
        return asyncio.run(run_load(Endpoint(service.url), load, on_progress=progress))


if __name__ == "__main__":
    typer.run(main)
