"""A pod that follows its budget: whatever the kubelet does and when, its process never outgrows it.

The machine below plays the kubelet, the API server and the runtime, each at its own pace; what is
seen of the pod may be old, but is known to be when our own last change is not in it yet.
"""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from superinfer_contract.kv_budget import KvBudget, KvBudgetPatch, TierState
from superinfer_contract.service import KvCacheSpec
from superinfer_contract.service_pod import ResourcesSpec
from superinfer_operator.converge import Next, next_actions, settled_bytes
from superinfer_operator.pod_memory import MIB, following_bytes, memory_quantity, start_dram_bytes
from superinfer_operator.replica import PodMemory
from superinfer_operator.wish import Wish

RESOURCES = ResourcesSpec.model_validate({"memory": "100Mi", "dramCharge": 1.25})
KV_CACHE = KvCacheSpec.model_validate(
    {
        "dram": {"min": "4Mi", "max": "64Mi", "initial": "16Mi"},
        "slab": "4Mi",
        "policy": "FollowBudget",
    }
)
UNIT = 4 * MIB
START = start_dram_bytes(KV_CACHE)


def limit_for(dram_bytes: int) -> int:
    return following_bytes(RESOURCES, KV_CACHE, dram_bytes)


def tier(desired: int, allocated: int | None = None, **rest: Any) -> TierState:
    state = {
        "min_bytes": 4 * MIB,
        "max_bytes": 64 * MIB,
        "desired_bytes": desired,
        "allocated_bytes": desired if allocated is None else allocated,
        "in_use_bytes": 0,
        "step_bytes": UNIT,
    }
    return TierState(**(state | rest))


def budget(dram: TierState, hbm: TierState | None = None, **shares: float) -> KvBudget:
    return KvBudget(hbm=hbm or tier(8 * MIB), dram=dram, pending=False, class_shares=shares)


class Pod(RuleBasedStateMachine):
    """One pod, its runtime, and the loop that brings it to the wish."""

    @initialize()
    def start(self) -> None:
        self.wish = Wish(dram_bytes=START)
        self.desired = self.allocated = START
        self.generation = self.ours = 1
        self.limit = self.in_force = limit_for(START)
        self.seen = (self.limit, self.in_force, self.generation)

    @rule(slabs=st.integers(1, 16))
    def wish_for(self, slabs: int) -> None:
        self.wish = Wish(dram_bytes=slabs * UNIT)

    @rule(heard=st.booleans())
    def take_turn(self, heard: bool = True) -> None:
        limit, granted, generation = self.seen
        memory = PodMemory(limit, granted, caught_up=generation >= self.ours)
        action = next_actions(
            self.wish, budget(tier(self.desired, self.allocated)), memory, limit_for
        )
        if action.limit_bytes is not None:
            self.limit = action.limit_bytes
            self.generation += 1
            self.ours = self.generation
        if action.patch is not None and heard:
            assert action.patch.dram_bytes is not None
            self.desired = action.patch.dram_bytes

    @rule(grants=st.booleans())
    def kubelet_acts(self, grants: bool = True) -> None:
        if grants or self.limit < self.in_force:
            self.in_force = self.limit

    @rule()
    def status_arrives(self) -> None:
        self.seen = (self.limit, self.in_force, self.generation)

    @rule(slabs=st.integers(1, 16))
    def runtime_moves(self, slabs: int = 16) -> None:
        way = max(-slabs * UNIT, min(slabs * UNIT, self.desired - self.allocated))
        self.allocated += way

    @rule()
    def container_restarts(self) -> None:
        self.desired = self.allocated = START

    @rule()
    def calm_comes(self) -> None:
        for _ in range(6):
            self.kubelet_acts()
            self.status_arrives()
            self.take_turn()
            self.runtime_moves()
            self.nothing_outgrows_the_pod()
        assert self.desired == self.allocated == self.wish.dram_bytes
        assert self.limit == self.in_force == limit_for(self.allocated)

    @invariant()
    def nothing_outgrows_the_pod(self) -> None:
        if hasattr(self, "wish"):
            assert limit_for(self.allocated) <= self.in_force
            assert limit_for(self.desired) <= self.in_force


Pod.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPod = Pod.TestCase


def test_a_pod_grows_before_its_budget_and_shrinks_after_it() -> None:
    larger, smaller = Wish(dram_bytes=32 * MIB), Wish(dram_bytes=16 * MIB)
    small = PodMemory(limit_for(16 * MIB), limit_for(16 * MIB))
    large = PodMemory(limit_for(32 * MIB), limit_for(32 * MIB))
    asked = PodMemory(limit_for(32 * MIB), limit_for(16 * MIB))
    at_16, at_32 = budget(tier(16 * MIB)), budget(tier(32 * MIB))
    shrinking = budget(tier(16 * MIB, 32 * MIB))
    to_16, to_32 = KvBudgetPatch(dram_bytes=16 * MIB), KvBudgetPatch(dram_bytes=32 * MIB)

    assert next_actions(larger, at_16, small, limit_for) == Next(limit_for(32 * MIB), None)
    assert next_actions(larger, at_16, asked, limit_for) == Next()
    assert next_actions(larger, at_16, large, limit_for) == Next(None, to_32)
    assert next_actions(larger, at_32, large, limit_for) == Next()
    assert next_actions(smaller, at_32, large, limit_for) == Next(None, to_16)
    assert next_actions(smaller, shrinking, large, limit_for) == Next()
    assert next_actions(smaller, at_16, large, limit_for) == Next(limit_for(16 * MIB), None)


def test_what_may_still_happen_counts_as_if_it_had() -> None:
    """A budget that may still grow needs its pod; a limit that may still fall is no support."""
    smaller, larger = Wish(dram_bytes=16 * MIB), Wish(dram_bytes=32 * MIB)
    low, high = limit_for(16 * MIB), limit_for(32 * MIB)
    growing = budget(tier(32 * MIB, 16 * MIB))
    back = Next(None, KvBudgetPatch(dram_bytes=16 * MIB))
    assert next_actions(smaller, growing, PodMemory(high, high), limit_for) == back
    at_16 = budget(tier(16 * MIB))
    assert next_actions(larger, at_16, PodMemory(low, high), limit_for) == Next(high, None)
    unsure = PodMemory(high, high, caught_up=False)
    assert next_actions(larger, at_16, unsure, limit_for) == Next()


def test_a_pod_of_unknown_size_is_not_counted_on() -> None:
    wish = Wish(dram_bytes=32 * MIB)
    assert next_actions(wish, budget(tier(16 * MIB)), None, limit_for) == Next()
    assert next_actions(Wish(dram_bytes=8 * MIB), budget(tier(16 * MIB)), None, limit_for) == Next(
        None, KvBudgetPatch(dram_bytes=8 * MIB)
    )


def test_with_a_ceiling_only_the_budget_moves() -> None:
    action = next_actions(Wish(dram_bytes=33 * MIB), budget(tier(16 * MIB)), PodMemory(1, 1))
    assert action == Next(None, KvBudgetPatch(dram_bytes=32 * MIB))


@pytest.mark.parametrize(
    ("wished_mib", "cap_mib", "to_mib"),
    [(12, None, 12), (12, 12, None), (20, 16, None), (24, 20, 20), (12, 4, 12)],
)
def test_hbm_is_raised_no_further_than_the_neighbours_leave(
    wished_mib: int, cap_mib: int | None, to_mib: int | None
) -> None:
    has = 12 if to_mib is None and cap_mib == 12 else 16
    action = next_actions(
        Wish(hbm_bytes=wished_mib * MIB),
        budget(tier(4 * MIB), tier(has * MIB)),
        hbm_cap_bytes=None if cap_mib is None else cap_mib * MIB,
    )
    patch = None if to_mib is None else KvBudgetPatch(hbm_bytes=to_mib * MIB)
    assert action == Next(None, patch)


def test_class_shares_are_sent_when_they_differ_and_restored_by_name() -> None:
    has = budget(tier(16 * MIB), batch=0.5, chat=1.0)
    assert next_actions(Wish(class_shares={"batch": 0.5}), has) == Next()
    assert next_actions(Wish(), has).patch == KvBudgetPatch(class_shares={"batch": 1, "chat": 1})
    assert next_actions(Wish(), budget(tier(16 * MIB))) == Next()


def test_a_budget_beyond_what_the_runtime_can_hold_is_no_reason_to_ask_again() -> None:
    small = tier(8 * MIB, max_bytes=8 * MIB)
    assert settled_bytes(64 * MIB, small) == 8 * MIB
    assert next_actions(Wish(dram_bytes=64 * MIB), budget(small)) == Next()


def test_limits_are_whole_and_exact() -> None:
    assert limit_for(32 * MIB + 1) == 141 * MIB
    assert limit_for(4 * MIB) == limit_for(START)
    assert memory_quantity(limit_for(32 * MIB)) == "140Mi"
