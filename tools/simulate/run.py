"""`make simulate`: the paper's grid, highest rates, stock vLLM side by side, what settings change.

python tools/simulate/run.py --output out/simulate.json [--parts grid,against-stock]

The parts: *grid* has the highest rates of four policies too, *against-stock* every scenario below
and above what stock vLLM holds, *sensitivity* one setting changed at a time, *timed* two large
runs. What other parts left in the file stays there.

One setting for all: Qwen2.5-32B on a GH200 144/480, vLLM's limits as the authors ran it
(max-num-seqs and max-num-batched-tokens 16384, blocks of 16 tokens), TTFT 5 s and TBT 100 ms unless
a workload has classes of its own. The authors' traces are not public: short-chat stands for the
first turns of ShareGPT. No GH200 was at hand; see docs/concepts/cost-model.md.
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from against_stock import KNEES, cases, compared, rows
from rich.console import Console
from rich.table import Table
from sensitivity import sensitivity
from superinfer_runtime.bench.traces import TraceError
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.evaluation.case import Case
from superinfer_runtime.sim.evaluation.outputs import Outputs
from superinfer_runtime.sim.evaluation.pool import available_workers
from superinfer_runtime.sim.evaluation.progress_line import ProgressLine
from superinfer_runtime.sim.evaluation.run_study import wide_console
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.evaluation.sweep_runner import Search, evaluate, open_ends
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.policies import POLICIES
from superinfer_runtime.sim.report.sweep import Sweep
from superinfer_runtime.sim.report.tables import sweep_tables
from superinfer_runtime.sim.stock_scheduler import EngineLimits
from superinfer_runtime.sim.workload.scenarios import Scenario, scenarios
from timed_runs import AZURE_FILE, azure_hour, hundred_replicas

CHECKOUT = Path(__file__).parents[2]
DURATION_S = 120.0
SEED = 0
PARTS = ("grid", "against-stock", "sensitivity", "timed")
GRID_SCENARIO = "short-chat"
GRID_RATES = (5.0, 10.0, 13.0, 15.0, 18.0, 20.0)
SEARCH_POLICIES = ("stock", "fcfs-swap", "lvf", "rotasched")
GOALS = (0.9, 0.99)
SEARCH_RANGES = {
    "short-chat": (12.0, 96.0, 0.25),
    "sharegpt": (1.0, 32.0, 0.125),
    "azure-conv": (3.0, 48.0, 0.25),
    "reasoning": (1.5, 48.0, 0.125),
    "two-classes": (6.0, 48.0, 0.25),
}
"""Lowest and highest rate tried, and how close a search comes, in req/s. It starts at the lowest
and doubles until it misses; high enough to be reached by nobody, low enough to be held by all."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("out/simulate.json"))
    parser.add_argument("--traces", type=Path, default=_default_traces())
    parser.add_argument("--workers", type=int, default=available_workers())
    parser.add_argument(
        "--duration", type=float, default=DURATION_S, help="seconds of arrivals of each run"
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    parts = options.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    output: Path = options.output
    output.parent.mkdir(parents=True, exist_ok=True)
    log = Console(stderr=True)
    deployment = _deployment()
    present = {one.name: one for one in _present(options.traces, log)}
    setup = Setup(present, deployment, options.duration)
    if "grid" in parts:
        searched = {name: present[name] for name in SEARCH_RANGES if name in present}
        sweep = _sweep(replace(setup, scenarios=searched), options.workers, log)
        # Written after each part, so that nothing is lost if the rest is interrupted.
        _add(output, _result(sweep))
        Outputs(html=output.with_suffix(".html"), plots=output.parent).write_sweep(sweep)
    if "against-stock" in parts:
        _add(output, {"against_stock": _against_stock(setup, options.workers, log)})
    if "sensitivity" in parts:
        with log.status("sensitivity") as status:
            rows = sensitivity(setup, SEED, options.workers, status.update)
        _table(rows)
        _add(output, {"sensitivity": rows})
    if "timed" in parts and (options.traces / AZURE_FILE).exists():
        log.print("timing the Azure hour and 100 replicas, alone on one core ...")
        hour = azure_hour(options.traces, deployment)
        _show("Azure hour", hour)
        hundred = hundred_replicas(options.traces, deployment)
        _show("100 replicas", hundred)
        timed = {"azure_hour": hour, "hundred_replicas": hundred}
        _add(output, {"azure_hour_wall_s": hour["wall_s"]} | timed)
    log.print(f"written to {output}, {output.with_suffix('.html')} and {output.parent}/*.png")


def _deployment() -> Deployment:
    limits = EngineLimits(block_size=16, max_num_seqs=16384, max_num_batched_tokens=16384)
    return Deployment(known_model("Qwen2.5-32B"), hardware("gh200-144-480"), limits)


def _default_traces() -> Path:
    return Path(os.environ.get("SUPERINFER_TRACES", CHECKOUT.parent / "shared" / "traces"))


def _present(traces: Path, log: Console) -> Iterator[Scenario]:
    """The scenarios whose recordings are there; tells which are not."""
    known = scenarios(traces)
    for name in KNEES:
        try:
            known[name].make(5.0, 60.0, SEED)
        except TraceError as error:
            log.print(f"{name} is left out: {error}")
        else:
            yield known[name]


def _sweep(setup: Setup, workers: int, log: Console) -> Sweep:
    """Run and show it."""
    searches = [
        Search(name, policy, (SEED,), GOALS, *SEARCH_RANGES[name])
        for name, policy in product(setup.scenarios, SEARCH_POLICIES)
    ]
    cases = [
        Case(GRID_SCENARIO, policy, rate, SEED) for rate, policy in product(GRID_RATES, POLICIES)
    ]
    with ProgressLine(log) as line:
        found = evaluate(setup, cases, searches, workers=workers, on_progress=line)
    parameters = setup.parameters() | {"seeds": [SEED], "search_ranges": SEARCH_RANGES}
    sweep = found.sweep(parameters)
    wide_console().print(sweep_tables(sweep))
    for text in open_ends(found, searches):
        print(text)
    return sweep


def _result(sweep: Sweep) -> dict[str, Any]:
    return {
        "grid": [
            {
                "policy": point.policy,
                "rate": point.rate,
                "ttft_attainment": point.summary.total.ttft_attainment,
                "tbt_attainment": point.summary.total.tbt_attainment,
                "joint_attainment": point.summary.total.joint_attainment,
                "tokens_per_s": point.summary.total.output_tokens_per_s,
            }
            for point in sweep.points
        ],
        **{
            f"max_rate_{goal * 100:g}": {
                scenario: {policy: by_goal[goal] for policy, by_goal in policies.items()}
                for scenario, policies in sweep.max_rates.items()
            }
            for goal in sweep.goals
        },
        "parameters": dict(sweep.parameters),
        "machine": {
            "cores": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "load_average": round(os.getloadavg()[0], 2),
        },
    }


def _against_stock(setup: Setup, workers: int, log: Console) -> list[dict[str, Any]]:
    with ProgressLine(log) as line:
        found = evaluate(
            setup, cases(list(setup.scenarios), SEED), workers=workers, on_progress=line
        )
    compared_rows = rows(compared(setup, found.outcomes))
    _table(compared_rows)
    return compared_rows


def _table(rows: list[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    wide_console().print(table)


def _add(output: Path, part: dict[str, Any]) -> None:
    known = json.loads(output.read_text()) if output.exists() else {"azure_hour_wall_s": None}
    output.write_text(json.dumps(known | part, indent=2) + "\n")


def _show(name: str, run: dict[str, Any]) -> None:
    print(
        f"{name}: {run['requests']:,} requests, {run['virtual_s']:,.0f} s of virtual time in "
        f"{run['wall_s']:.1f} s ({run['cpu_s']:.1f} s of CPU), "
        f"{run['peak_rss_bytes'] / 2**20:,.0f} MiB at most, "
        f"{run['joint_attainment']:.1%} met both objectives"
    )


if __name__ == "__main__":
    main()
