"""What single settings change: joint attainment at one load past stock vLLM's limit, each alone.

Knobs of the policy, the link's bandwidth and the size of DRAM, everything else as in `run.py`.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.evaluation.case import Case, run_case
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.machine.hardware import GIB

RATES = {
    "short-chat": 22.0,
    "sharegpt": 3.5,
    "azure-conv": 9.5,
    "reasoning": 5.5,
    "two-classes": 13.8,
}
"""Requests/s, 1.3 to 2.5 times what stock vLLM holds."""
KNOBS: Mapping[str, tuple[float | int, ...]] = {
    "alpha": (1.0, 6.0, 12.0),
    "beta_ttft": (0.25, 0.75),
    "beta_tbt": (1.0, 4.0),
    "tbt_credit": (0.0, 0.5),
    "transfer_budget_blocks": (64, 256, 1024),
}
LINK_SHARES = (0.05, 0.15, 0.5, 2.0)
"""Of the C2C link's bandwidth; 0.15 is about PCIe 5."""
DRAM_GIB = (16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Variation:
    """One setting, changed alone."""

    setting: str
    value: float
    deployment: Deployment


def variations(base: Deployment) -> Iterator[Variation]:
    """The first is ``base`` itself."""
    yield Variation("as is", 0.0, base)
    for name, values in KNOBS.items():
        for value in values:
            knobs = base.knobs.model_copy(update={name: value})
            yield Variation(name, value, replace(base, knobs=knobs))
    for share in LINK_SHARES:
        hardware = replace(base.hardware, link=base.hardware.link.times(share))
        yield Variation("link bandwidth", share, replace(base, hardware=hardware))
    for gib in DRAM_GIB:
        yield Variation("DRAM, GiB", gib, replace(base, dram_kv_bytes=gib * GIB))


def sensitivity(
    setup: Setup, seed: int, workers: int, on_end: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row a variation: its setting and value, and RotaSched's joint attainment by scenario."""
    rates = {name: rate for name, rate in RATES.items() if name in setup.scenarios}
    tried = list(variations(setup.deployment))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        running = [
            {
                name: pool.submit(
                    run_case,
                    replace(setup, deployment=variation.deployment),
                    Case(name, "rotasched", rate, seed),
                )
                for name, rate in rates.items()
            }
            for variation in tried
        ]
        rows = []
        for variation, runs in zip(tried, running, strict=True):
            attained = {
                name: run.result().point.summary.total.joint_attainment
                for name, run in runs.items()
            }
            rows.append({"setting": variation.setting, "value": variation.value, **attained})
            on_end(f"{variation.setting} {variation.value:g}")
    return rows
