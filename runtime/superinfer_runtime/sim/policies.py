"""The policies that can be simulated, by name.

All but stock vLLM move KV by the same mechanism (mirrors, duplex copies, resumes of one token), so
that what differs is who holds HBM. Where a policy comes from a system whose engine mirrors nothing,
neither does it here. None but the oracle knows how long an answer becomes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.policy.baselines.fcfs_swap import decide_fcfs_swap
from superinfer_runtime.policy.baselines.lvf import decide_lvf
from superinfer_runtime.policy.baselines.ranked import (
    Ranked,
    deadline,
    feedback_level,
    remaining_tokens,
)
from superinfer_runtime.policy.baselines.released import OldestFirst
from superinfer_runtime.policy.rotasched import decide
from superinfer_runtime.sim.rotating_scheduler import Decide, Mechanism


@dataclass(frozen=True, slots=True)
class Setting:
    """What a policy may know when it is made."""

    knobs: SchedulerKnobs
    hbm_blocks: int
    dram_blocks: int
    output_tokens: Mapping[str, int]
    """By request id; for the oracle alone."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A name, and how its decisions are made; ``make`` None: stock vLLM, which rotates nothing."""

    name: str
    title: str
    make: Callable[[Setting], Decide] | None
    mirrors: bool = True
    guards_tbt: bool = False

    def mechanism(self, knobs: SchedulerKnobs) -> Mechanism:
        """What the policy is given beside its decisions."""
        guard = knobs.guard_tbt and self.guards_tbt
        return Mechanism(knobs.model_copy(update={"guard_tbt": guard}), self.mirrors)


def _rotasched(setting: Setting) -> Decide:
    knobs = setting.knobs
    return lambda iteration: decide(iteration, knobs)


def _lvf(setting: Setting) -> Decide:
    knobs = setting.knobs
    return lambda iteration: decide_lvf(iteration, knobs)


def _released(setting: Setting) -> Decide:
    return OldestFirst.published(setting.hbm_blocks, setting.dram_blocks)


def _edf(setting: Setting) -> Decide:
    return Ranked(deadline, setting.knobs.run_quantum_s)


def _sjf(setting: Setting) -> Decide:
    return Ranked(remaining_tokens(setting.output_tokens), setting.knobs.run_quantum_s)


def _mlfq(setting: Setting) -> Decide:
    return Ranked(feedback_level, setting.knobs.run_quantum_s)


def _fcfs_swap(setting: Setting) -> Decide:
    return decide_fcfs_swap


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("stock", "stock vLLM: FCFS, recompute", None),
        Policy("fcfs-swap", "FCFS, swap", _fcfs_swap, mirrors=False),
        Policy("edf", "earliest deadline first", _edf),
        Policy("sjf-oracle", "shortest job first, oracle", _sjf),
        Policy("mlfq", "multi-level feedback queue", _mlfq),
        Policy("released", "SuperInfer as released: oldest first", _released),
        Policy("lvf", "SuperInfer's paper: largest lag first", _lvf),
        Policy("rotasched", "RotaSched", _rotasched, guards_tbt=True),
    )
}


def policy_named(name: str) -> Policy:
    """Raises ValueError that lists the names."""
    if name not in POLICIES:
        raise ValueError(f"unknown policy {name!r}: choose from {', '.join(POLICIES)}")
    return POLICIES[name]
