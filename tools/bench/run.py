"""`make bench`: what policy, scheduler, ledger, CPU copy engine and operator cost on this machine.

python tools/bench/run.py --output out/bench.json
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from pathlib import Path

from cpu_rotation import cpu_rotation
from ledger_rate import ledger_ops_per_s
from operator_scale import measure
from policy_time import decision_times_ms
from rich.console import Console
from rich.table import Table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/bench.json"))
    output: Path = parser.parse_args().output
    log = Console(stderr=True)
    log.print("policy decisions ...")
    contended = decision_times_ms(contended=True)
    uncontended = decision_times_ms(contended=False)
    log.print("ledger ...")
    ledger = ledger_ops_per_s()
    log.print("operator, 200 services on a real API server ...")
    operator = asyncio.run(measure())
    log.print("CPU rotation ...")
    rotation = cpu_rotation()
    log.print("scheduler steps beside stock vLLM's ...")
    from step_overhead import step_overhead  # last: it brings all of vLLM into this process

    result = {
        "policy_decision_ms": contended,
        "policy_decision_uncontended_ms": uncontended,
        "ledger_ops_per_s": ledger,
        "cpu_rotation": rotation,
        "step_overhead": step_overhead(),
        "operator": operator,
        "machine": machine(),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    show(result, Console())
    log.print(f"written to {output}")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def show(result: dict[str, object], console: Console) -> None:
    decisions = Table("requests", "", "p50", "p99", "p99, CPU time", title="one decision, ms")
    for key, label in (
        ("policy_decision_ms", "contended"),
        ("policy_decision_uncontended_ms", "uncontended"),
    ):
        by_size = result[key]
        assert isinstance(by_size, dict)
        for size, times in by_size.items():
            cells = (times["p50"], times["p99"], times["p99_cpu"])
            decisions.add_row(f"{int(size):,}", label, *(f"{cell:.3f}" for cell in cells))
    console.print(decisions)
    console.print(f"ledger: {result['ledger_ops_per_s']:,} block operations a second")
    operator = result["operator"]
    assert isinstance(operator, dict)
    carried = Table("operator", "", title=f"{operator['services']} services")
    for name, figure in operator.items():
        carried.add_row(name, str(figure))
    console.print(carried)
    overhead = Table("load, sequences", "stock", "RotaSched", "ratio", title="one step's CPU, ms")
    steps = result["step_overhead"]
    assert isinstance(steps, dict)
    for load, found in steps.items():
        cells = (found["stock_ms"], found["rotasched_ms"], found["ratio"])
        overhead.add_row(load, *(f"{cell:.3f}" for cell in cells))
    console.print(overhead)
    headings = ("segment", "plain", "plain by segment", "one way", "ratio", "duplex", "ratio")
    rotation = Table(*headings, title="CPU rotation, GB/s")
    speeds = result["cpu_rotation"]
    assert isinstance(speeds, dict)
    for segment, speed in speeds.items():
        rotation.add_row(
            segment,
            f"{speed['plain_gb_per_s']:.2f}",
            f"{speed['plain_by_segment_gb_per_s']:.2f}",
            f"{speed['one_way_gb_per_s']:.2f}",
            f"{speed['one_way_ratio']:.2f}",
            f"{speed['duplex_gb_per_s']:.2f}",
            f"{speed['duplex_ratio']:.2f}",
        )
    console.print(rotation)


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
