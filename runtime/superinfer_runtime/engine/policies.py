"""The policies that can decide inside vLLM, by name: RotaSched, and what it is compared with.

They differ in nothing but who holds HBM: all see the same `Iteration` and move KV by the same
mechanism. A baseline that has no guard of the token budget is given none, as in the simulator.
"""

from collections.abc import Callable

from superinfer_runtime.duplexkv.slots import SlotPool
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.hbm_budget import HbmBudget
from superinfer_runtime.policy.baselines.released import OldestFirst
from superinfer_runtime.policy.rotasched import Decision, Iteration, decide

Decide = Callable[[Iteration], Decision]


def decider(config: EngineConfig, hbm: HbmBudget, slots: SlotPool) -> Decide:
    """Return the policy that ``config`` names; ``hbm`` and ``slots`` tell it the memory of now."""
    knobs = config.scheduler
    if config.policy == "rotasched":
        return lambda iteration: decide(iteration, knobs)

    def released(iteration: Iteration) -> Decision:
        dram_blocks = slots.allocated_slabs * slots.slots_per_slab
        return OldestFirst.published(hbm.allocated_blocks, dram_blocks)(iteration)

    return released


def guards_tbt(config: EngineConfig) -> bool:
    """Whether prefill gets less of a step so that running requests keep their TBT."""
    return config.policy == "rotasched" and config.scheduler.guard_tbt
