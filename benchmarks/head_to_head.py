"""Head to head: stock vLLM, its own offloading, the released policy and RotaSched on one machine.

    python benchmarks/head_to_head.py --model 32b --kv-tokens 72000 --rates "short=4,8,12"

Each engine lives once, in a process of its own, and serves every (workload, rate) in turn: the same
requests at the same times. One call ends within ``--time-limit-s``; what has ended is in the result
file, and the same command goes on where the last one stopped. `head_to_head_table.py` shows it.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from contest.lives import LifeFailed, live_through
from contest.loads import WORKLOADS, load_named
from contest.models import MODELS
from contest.record import Record
from contest.rows import identity
from contest.setup import ENGINES, Job, Run, Setup, parse_rates
from superinfer_runtime.bench.traces import TraceError

DEFAULT_RATES = (
    "short=4,8,10,12,14,16,20;reasoning=0.5,1,1.5,2,3;sharegpt=2,4,6,8;two-classes=4,6,8,10"
)
GH200_96_TOKENS = 72_000
SHORTEST_START_S = 30.0


def main() -> int:
    options = parse_options()
    # As an exception, so that a contest that is killed takes its engine along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    stop_at_s = time.time() + options.time_limit_s
    gpu = gpu_name()
    setup = Setup(
        model=options.model,
        kv_tokens=options.kv_tokens,
        tier=options.tier,
        dram_gib=options.dram_gib,
        seconds=options.seconds,
        drain_s=options.drain_s,
        seed=options.seed,
        on_gpu=gpu is not None,
        block_size=options.block_size,
        max_num_seqs=options.max_num_seqs,
        max_num_batched_tokens=options.max_num_batched_tokens,
        traces=str(options.traces) if options.traces else None,
        time_scheduler=options.time_scheduler,
        spot_checks=options.spot_checks,
    )
    try:
        runs = planned_runs(options.workloads, parse_rates(options.rates), setup)
        output: Path = options.output or default_output(gpu)
        record = Record(output, gpu or "CPU", f"python {shlex.join(sys.argv)}")
    except (ValueError, TraceError) as error:
        print(f"head_to_head: {error}", file=sys.stderr)
        return 2
    failed = False
    for engine in options.engines:
        try:
            left = go(engine, setup, runs, record, stop_at_s, output)
        except LifeFailed:
            failed = True
        else:
            if left:
                print(f"{engine}: out of time, {left} runs left: repeat the command", flush=True)
    print(f"written to {output}")
    return 1 if failed else 0


def go(
    engine: str, setup: Setup, runs: list[Run], record: Record, stop_at_s: float, output: Path
) -> int:
    """Let one engine do what it has not done yet; return how many runs are left after that.

    Raises:
        LifeFailed: it failed; that is recorded.
    """
    todo = [run for run in runs if not record.has(identity(engine, setup, run))]
    if not todo or time.time() + SHORTEST_START_S + setup.seconds + setup.drain_s > stop_at_s:
        return len(todo)
    record.try_again(engine)
    underway: dict[str, Any] = {}
    done = 0

    def note(event: dict[str, Any]) -> None:
        nonlocal done
        match event.pop("event"):
            case "started":
                print(f"{engine}: {event}", flush=True)
            case "begun":
                underway.update(event)
            case "row":
                underway.clear()
                record.add(event["row"])
                done += 1
                print(line_of(event["row"]), flush=True)

    log = output.parent / f"{output.stem}-{engine}.log"
    try:
        live_through(Job(engine, setup, tuple(todo), stop_at_s), log, note)
    except LifeFailed as failure:
        record.fail(engine, str(failure), tier=setup.tier, **underway)
        print(f"{engine}: FAILED {underway or 'at its start'}, see {log}", flush=True)
        raise
    return len(todo) - done


def planned_runs(
    workloads: list[str] | None, rates: dict[str, tuple[float, ...]], setup: Setup
) -> list[Run]:
    """Every run, the lowest rate of each workload first.

    Raises:
        ValueError: an unknown workload, or one without rates.
        TraceError: recorded lengths are not there.
    """
    runs = []
    for workload in workloads or rates:
        if workload not in WORKLOADS:
            raise ValueError(f"unknown workload {workload!r}: choose from {', '.join(WORKLOADS)}")
        if workload not in rates:
            raise ValueError(f"no rates of {workload}: give --rates {workload}=RATE,RATE")
        load_named(workload, setup.traces)
        runs += [Run(workload, rate) for rate in rates[workload]]
    return runs


def line_of(row: dict[str, Any]) -> str:
    return (
        f"{row['engine']:14} {row['workload']:12} {row['rate']:6g}/s"
        f"  joint {row['joint_attainment']:.3f}  ttft {row['ttft_attainment']:.3f}"
        f"  tbt {row['tbt_attainment']:.3f}  {row['tokens_per_s']:8.1f} tok/s"
        f"  {row['requests']} requests, {row['failed']} failed, {row['unfinished']} unfinished"
    )


def gpu_name() -> str | None:
    """The first GPU's name, asked without taking any of its memory; None: there is none."""
    ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.splitlines()[0].strip() if told.stdout.strip() else None


def default_output(gpu: str | None) -> Path:
    """``NVIDIA H200`` -> ``benchmarks/results/head-to-head-h200.json``."""
    if gpu is None:
        return Path("out/head-to-head-cpu.json")
    model = gpu.removeprefix("NVIDIA ").split()[0].lower()
    return Path(f"benchmarks/results/head-to-head-{model}.json")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--engines", type=names, default=list(ENGINES), help=",".join(ENGINES))
    add("--model", choices=MODELS, default="32b", help="shape; weights are random")
    add("--kv-tokens", type=int, default=GH200_96_TOKENS, help="72000: GH200-96; 237000: GH200-144")
    add("--workloads", type=names, help=f"{','.join(WORKLOADS)}; default: all that have rates")
    add("--rates", default=DEFAULT_RATES, help="req/s: 'short=4,8;reasoning=1,2'")
    add("--tier", choices=("host", "peer"), default="host", help="peer needs a second GPU")
    add("--dram-gib", type=float, default=48.0)
    add("--seconds", type=float, default=60.0, help="of offered load a run")
    add("--drain-s", type=float, default=90.0, help="for what is unfinished then")
    add("--block-size", type=int, help="for all engines; default: each engine's own")
    add("--max-num-seqs", type=int, default=1024)
    add("--max-num-batched-tokens", type=int, default=8192)
    add("--seed", type=int, default=0)
    add("--traces", type=Path, help="folder of the recorded lengths, for sharegpt")
    add("--time-scheduler", action="store_true", help="what schedulers take of a step; to find out")
    add("--spot-checks", type=int, default=0, help="answers a run to compare with an idle engine's")
    add("--output", type=Path, help="default: benchmarks/results/head-to-head-GPU.json")
    add("--time-limit-s", type=float, default=3600.0)
    options = parser.parse_args()
    if unknown := set(options.engines) - set(ENGINES):
        parser.error(
            f"unknown engines {', '.join(sorted(unknown))}: there are {', '.join(ENGINES)}"
        )
    return options


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
