"""Several replicas as one: what holds for the view holds for each of them."""

from dataclasses import replace

from fake_fleet import MIB
from superinfer_contract.kv_budget import KvBudget, TierState
from superinfer_contract.metrics import (
    KV_HEADROOM,
    REQUESTS,
    ROTATION_STALLS,
    Attribute,
    Objective,
    Tier,
)
from superinfer_operator.ladder.view import Judged, Refusal, RefusalKind
from superinfer_operator.observe import observed
from superinfer_operator.replica import PodMemory, ReplicaView
from superinfer_operator.telemetry.windows import Share, Snapshot
from superinfer_operator.wish import Wish


def tier(allocated: int, used: int, low: int = 0, high: int = 64, desired: int = 0) -> TierState:
    return TierState(
        min_bytes=low * MIB,
        max_bytes=high * MIB,
        desired_bytes=(desired or allocated) * MIB,
        allocated_bytes=allocated * MIB,
        in_use_bytes=used * MIB,
        step_bytes=MIB,
    )


def view(name: str, dram: TierState, *, age_s: float | None = 1.0, good: int = 9) -> ReplicaView:
    snapshot = Snapshot(
        age_s=age_s,
        shares={("chat", Objective.TTFT): Share(good, 10)},
        gauges={
            (REQUESTS.name, ((Attribute.STATE.value, "waiting"),)): 2,
            (REQUESTS.name, ((Attribute.STATE.value, "rotary"),)): 1,
            (KV_HEADROOM.name, ((Attribute.TIER.value, "dram"),)): float(good),
        },
        rises={(ROTATION_STALLS.name, ()): 3.0},
        window_s=30,
    )
    budget = KvBudget(hbm=tier(8, 8), dram=dram, pending=False)
    return ReplicaView(name, True, snapshot, budget, silent=age_s is None or age_s > 15)


A = view("a", tier(16, 5, low=2))
B = view("b", tier(16, 9, high=32), age_s=4.0, good=4)
WISH = Wish(dram_bytes=16 * MIB)


def test_the_worst_of_sizes_and_the_sum_of_counts() -> None:
    seen = observed([A, B], WISH)
    dram = seen.tiers[Tier.DRAM]
    assert (dram.min_bytes, dram.max_bytes) == (2 * MIB, 32 * MIB)
    assert (dram.desired_bytes, dram.in_use_bytes) == (16 * MIB, 9 * MIB)
    assert not dram.pending
    assert seen.judged == (Judged("chat", Objective.TTFT, 13, 20),)
    assert (seen.waiting, seen.rotary, seen.stalls) == (4, 2, 6)
    assert seen.headroom_bytes == {Tier.DRAM: 4}
    assert (seen.telemetry_age_s, seen.silent, seen.absent) == (1.0, (), ())


def test_a_replica_that_is_not_at_the_wish_is_on_its_way() -> None:
    new = view("new", tier(8, 1))
    dram = observed([A, new], WISH).tiers[Tier.DRAM]
    assert dram.pending
    assert (dram.allocated_bytes, dram.most_allocated_bytes) == (8 * MIB, 16 * MIB)
    assert observed([view("a", tier(16, 5, desired=20))], WISH).tiers[Tier.DRAM].pending
    assert not observed([A], Wish()).tiers[Tier.DRAM].pending


def test_those_who_cannot_be_asked_are_named_and_left_out() -> None:
    deaf = replace(view("deaf", tier(4, 4)), budget=None)
    loading = replace(view("loading", tier(4, 4)), ready=False, budget=None)
    silent = view("silent", tier(16, 12), age_s=None)
    seen = observed([A, deaf, loading, silent], WISH)
    assert seen.absent == ("deaf", "loading")
    assert seen.silent == ("silent",)
    assert seen.ready_replicas == 3
    assert seen.tiers[Tier.DRAM].in_use_bytes == 12 * MIB  # known without telemetry
    assert seen.judged == (Judged("chat", Objective.TTFT, 9, 10),)
    assert observed([deaf], WISH).tiers == {}
    assert observed([silent], WISH).telemetry_age_s is None


def test_the_gravest_refusal_is_told() -> None:
    deferred = PodMemory(2, 1, Refusal(RefusalKind.DEFERRED))
    infeasible = PodMemory(2, 1, Refusal(RefusalKind.INFEASIBLE, "static memory manager"))
    seen = observed([replace(A, memory=deferred), replace(B, memory=infeasible)], WISH)
    assert seen.refusal == infeasible.refusal


def test_class_shares_agree_in_every_replica_or_are_on_their_way() -> None:
    assert A.budget is not None
    half = replace(A, budget=A.budget.model_copy(update={"class_shares": {"batch": 0.5}}))
    wish = Wish(class_shares={"batch": 0.5})
    assert not observed([half], wish).classes_pending
    assert observed([half, B], wish).classes_pending
    assert observed([half], Wish()).classes_pending
