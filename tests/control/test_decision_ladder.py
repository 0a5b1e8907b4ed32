"""The decision ladder: each rung by example."""

from dataclasses import replace

import pytest
from ladder_views import ALL_RUNGS, BATCH_LATE, FULL, GOOD, LATE, MIB, RULES, START, seen, tier
from superinfer_contract.metrics import Objective, Tier
from superinfer_operator.ladder.decide import decide, refused
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import Cause, LadderState
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.ladder.view import (
    Donor,
    Judged,
    Neighbourhood,
    Observed,
    Refusal,
    RefusalKind,
)


def end(decision: Decision) -> float | None:
    return None if decision.move is None else decision.move.end


def test_missed_objectives_with_full_dram_grow_dram() -> None:
    decision = decide(RULES, seen(judged=LATE), START, 100)
    assert decision.rung is Rung.GROW_DRAM
    assert decision.reason == (
        "class chat met TTFT for 71 % of 42 requests in 15 s, target 95 %; "
        "DRAM headroom 0 of 16Mi: grow DRAM 16Mi -> 24Mi"
    )
    assert decision.execute
    assert decision.move == Move(Rung.GROW_DRAM, Lever.DRAM, 16 * MIB, 24 * MIB)


@pytest.mark.parametrize(
    ("view", "rung"),
    [
        pytest.param(seen(judged=GOOD), Rung.HOLD, id="content"),
        pytest.param(seen(tier(16, 8), judged=GOOD, rotary=4), Rung.ROTATE_MORE, id="rotating"),
        pytest.param(seen(judged=GOOD, rotary=4), Rung.GROW_DRAM, id="rotary and full"),
        pytest.param(seen(judged=GOOD, recomputes=2), Rung.GROW_DRAM, id="recomputes and full"),
        pytest.param(seen(tier(16, 8), stalls=2), Rung.GROW_DRAM, id="stalls"),
        pytest.param(seen(tier(16, 8), recomputes=2), Rung.HOLD, id="recomputes with room"),
        pytest.param(seen(tier(16, 8), judged=LATE), Rung.ROTATE_MORE, id="late with room"),
        pytest.param(
            seen(judged=(Judged("chat", Objective.TTFT, 0, 9),)), Rung.HOLD, id="too few events"
        ),
        pytest.param(
            seen(judged=(Judged("gone", Objective.TTFT, 0, 99),)), Rung.HOLD, id="unknown class"
        ),
        pytest.param(
            seen(judged=LATE, rotation_off_reason="hybrid model"), Rung.GROW_HBM, id="no rotation"
        ),
        pytest.param(
            seen(judged=LATE, headroom_bytes={Tier.DRAM: 8.0 * MIB}),
            Rung.ROTATE_MORE,
            id="the runtime's own headroom counts",
        ),
        pytest.param(seen(tier(32, 32), judged=LATE), Rung.GROW_HBM, id="DRAM at max"),
        pytest.param(seen(*FULL, judged=LATE), Rung.EXHAUSTED, id="all at max"),
        pytest.param(
            seen(tier(32, 32), tier(6, 1), judged=LATE), Rung.EXHAUSTED, id="HBM is not the matter"
        ),
        pytest.param(seen(judged=LATE, telemetry_age_s=None), Rung.HOLD, id="no telemetry"),
        pytest.param(seen(judged=LATE, telemetry_age_s=16), Rung.HOLD, id="stale telemetry"),
        pytest.param(Observed({}, judged=LATE), Rung.HOLD, id="no replica answers"),
        pytest.param(
            seen(tier(16, 16, desired_mib=12), judged=LATE), Rung.HOLD, id="a budget still moves"
        ),
    ],
)
def test_one_view_one_rung(view: Observed, rung: Rung) -> None:
    assert decide(RULES, view, START, 100).rung is rung


@pytest.mark.parametrize(
    ("view", "rung", "said"),
    [
        pytest.param(
            seen(*FULL, judged=LATE, replicas=1),
            Rung.SHRINK_CLASS,
            "cut class batch's share of HBM 100 % -> 50 %",
            id="the least weighty class is cut first",
        ),
        pytest.param(
            seen(*FULL, judged=LATE, replicas=1, class_shares={"batch": 0.3}),
            Rung.SHRINK_CLASS,
            "cut class batch's share of HBM 30 % -> 25 %",
            id="to no less than the least share",
        ),
        pytest.param(
            seen(*FULL, judged=LATE, replicas=1, class_shares={"batch": 0.25}),
            Rung.ADD_REPLICA,
            "class batch is down to 25 % of HBM: grow replicas 1 -> 2",
            id="then a replica is added",
        ),
        pytest.param(
            seen(*FULL, judged=BATCH_LATE, replicas=1),
            Rung.ADD_REPLICA,
            "no class of more weight than the least misses its objectives: grow replicas 1 -> 2",
            id="the least weighty class is not cut for its own sake",
        ),
        pytest.param(
            seen(*FULL, judged=BATCH_LATE, replicas=3, ready_replicas=3),
            Rung.EXHAUSTED,
            "there are 3 replicas, the most allowed: no rung left",
            id="up to the most allowed",
        ),
        pytest.param(
            seen(*FULL, judged=BATCH_LATE, replicas=2, ready_replicas=1),
            Rung.EXHAUSTED,
            "1 of 2 replicas are ready: no rung left",
            id="not while one is missing",
        ),
        pytest.param(
            seen(*FULL, judged=GOOD, stalls=1, replicas=1),
            Rung.EXHAUSTED,
            "no class misses its objectives, so no replica is added: no rung left",
            id="nor while objectives are met",
        ),
    ],
)
def test_the_upper_rungs(view: Observed, rung: Rung, said: str) -> None:
    decision = decide(ALL_RUNGS, view, START, 100)
    assert decision.rung is rung
    assert decision.reason.endswith(said)


@pytest.mark.parametrize(
    ("near", "rung", "said"),
    [
        pytest.param(
            Neighbourhood(0, (Donor("mail", 3 * MIB), Donor("code", 5 * MIB))),
            Rung.SHIFT_HBM,
            "shift HBM 6Mi -> 7Mi from code",
            id="from the one that can spare most",
        ),
        pytest.param(
            Neighbourhood(MIB, (Donor("mail", 3 * MIB),)),
            Rung.SHIFT_HBM,
            "shift HBM 6Mi -> 7Mi from what no service on these GPUs asks for",
            id="what is free first",
        ),
        pytest.param(
            Neighbourhood(MIB // 2, (Donor("mail", 3 * MIB),)),
            Rung.SHIFT_HBM,
            "shift HBM 6Mi -> 7Mi from mail",
            id="less than a unit is not free",
        ),
        pytest.param(
            Neighbourhood(),
            Rung.EXHAUSTED,
            "no service on the same GPUs can spare HBM: no rung left",
            id="never out of thin air",
        ),
    ],
)
def test_hbm_is_taken_from_those_on_the_same_gpus(
    near: Neighbourhood, rung: Rung, said: str
) -> None:
    rules = replace(RULES, shares_gpus=True)
    view = seen(tier(32, 32), judged=LATE, neighbourhood=near)
    decision = decide(rules, view, START, 100)
    assert decision.rung is rung
    assert decision.reason.endswith(said)


def test_hysteresis_tolerates_a_near_miss() -> None:
    near = seen(judged=(Judged("chat", Objective.TTFT, 93, 100),))
    assert decide(RULES, near, START, 0).rung is Rung.GROW_DRAM
    assert decide(replace(RULES, hysteresis=0.05), near, START, 0).rung is Rung.HOLD


def test_one_step_at_a_time_then_a_pause() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    waiting = decide(RULES, seen(tier(18, 18, desired_mib=24), judged=LATE), first.state, 101)
    assert (waiting.rung, waiting.reason) == (Rung.HOLD, "waiting for DRAM 16Mi -> 24Mi")

    there = seen(tier(24, 24), judged=LATE)
    landed = decide(RULES, there, waiting.state, 102)
    assert (landed.ended, landed.landed) == (first.state.in_flight, True)
    assert landed.rung is Rung.HOLD
    assert landed.reason.endswith("grow DRAM 24Mi -> 32Mi after a pause of 10 s")
    assert decide(RULES, there, landed.state, 112).rung is Rung.GROW_DRAM


def test_a_step_has_landed_only_in_every_replica() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    lagging = seen(tier(16, 16, desired_mib=24, most_mib=24), judged=LATE)
    assert decide(RULES, lagging, first.state, 101).reason == "waiting for DRAM 16Mi -> 24Mi"


def test_a_step_that_does_not_take_effect_is_withdrawn_and_the_next_rung_tried() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    stuck = seen(tier(18, 18, desired_mib=24, most_mib=24), judged=LATE)
    late = decide(RULES, stuck, first.state, 160)
    assert (late.rung, end(late), late.landed) == (Rung.WITHDRAW, 18 * MIB, False)
    assert late.reason == "DRAM 16Mi -> 24Mi did not take effect within 60 s: back to 18Mi"
    assert late.state.resting[Lever.DRAM].cause is Cause.TIMED_OUT

    back = seen(tier(18, 18), judged=LATE)
    after = decide(RULES, back, late.state, 171)
    assert after.rung is Rung.HOLD  # the cool-down
    following = decide(RULES, back, after.state, 182)
    assert following.rung is Rung.GROW_HBM
    assert "DRAM rests after a step that failed (DRAM 16Mi -> 24Mi did not" in following.reason


def test_a_failed_shrink_goes_back_to_the_most_that_is_held() -> None:
    quiet = seen(tier(32, 4), tier(6, 5), judged=GOOD)
    state = decide(RULES, quiet, START, 0).state
    shrunk = decide(RULES, quiet, state, 600)
    stuck = seen(tier(24, 4, desired_mib=24, most_mib=28), tier(6, 5), judged=GOOD)
    back = decide(RULES, stuck, shrunk.state, 660)
    assert (back.rung, end(back)) == (Rung.WITHDRAW, 28 * MIB)


@pytest.mark.parametrize(
    ("kind", "after_s", "cause"),
    [
        (RefusalKind.DEFERRED, 60, Cause.NODE_FULL),
        (RefusalKind.ERROR, 60, Cause.RESIZE_FAILED),
        (RefusalKind.INFEASIBLE, 1, Cause.INFEASIBLE),
    ],
)
def test_a_pod_that_is_not_resized_ends_the_step_in_its_words(
    kind: RefusalKind, after_s: float, cause: Cause
) -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    pending = tier(16, 16, desired_mib=24)
    refusing = seen(pending, judged=LATE, refusal=Refusal(kind, "static memory manager"))
    if kind is not RefusalKind.INFEASIBLE:
        waiting = decide(RULES, refusing, first.state, 100 + after_s - 1)
        assert waiting.reason == (
            f"waiting for DRAM 16Mi -> 24Mi, pod resize {kind}: static memory manager"
        )
    given_up = decide(RULES, refusing, first.state, 100 + after_s)
    assert (given_up.rung, end(given_up)) == (Rung.WITHDRAW, 16 * MIB)
    rest = given_up.state.resting[Lever.DRAM]
    assert rest.cause is cause
    assert rest.message.endswith(f"pod resize {kind}: static memory manager")


@pytest.mark.parametrize(
    ("ready", "back_to"), [(1, 1), (2, None), (3, None)], ids=["none came", "it came", "more came"]
)
def test_a_replica_has_its_own_longer_time_to_come(ready: int, back_to: int | None) -> None:
    alone = seen(*FULL, judged=BATCH_LATE, replicas=1)
    first = decide(ALL_RUNGS, alone, START, 100)
    assert first.move is not None
    assert first.move.lever is Lever.REPLICAS
    asked = replace(alone, replicas=2)
    assert decide(ALL_RUNGS, asked, first.state, 1899).reason == "waiting for replicas 1 -> 2"
    last = decide(ALL_RUNGS, replace(asked, ready_replicas=ready), first.state, 1900)
    assert last.ended == first.state.in_flight
    assert last.landed == (back_to is None)
    assert last.rung is (Rung.HOLD if back_to is None else Rung.WITHDRAW)
    assert end(last) == back_to


def test_a_refused_step_lets_its_tier_rest() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    state, back = refused(RULES, first.state, "409 no", 101)
    assert state.in_flight is None
    assert back == Move(Rung.WITHDRAW, Lever.DRAM, 24 * MIB, 16 * MIB)
    assert state.resting[Lever.DRAM].message == "409 no"
    assert decide(RULES, seen(judged=LATE), state, 120).rung is Rung.GROW_HBM
    assert refused(RULES, START, "409 no", 1) == (START, None)


def test_rotation_gets_a_window_to_help_before_hbm_grows() -> None:
    roomy = seen(tier(16, 4), judged=LATE, waiting=3)
    first = decide(RULES, roomy, START, 100)
    assert first.reason.endswith("DRAM headroom 12Mi of 16Mi: rotation has room to help")
    assert decide(RULES, roomy, first.state, 114).rung is Rung.ROTATE_MORE
    assert decide(RULES, roomy, first.state, 115).rung is Rung.GROW_HBM


def test_a_replica_that_never_gets_there_holds_nobody_up_for_ever() -> None:
    stuck = seen(tier(4, 4, desired_mib=16, most_mib=16), judged=LATE)
    first = decide(RULES, stuck, START, 100)
    assert first.reason == "DRAM is still moving to what was wished for"
    assert decide(RULES, stuck, first.state, 159).rung is Rung.HOLD
    later = decide(RULES, stuck, first.state, 160)
    assert later.rung is Rung.GROW_HBM
    assert "DRAM is not yet what was wished for in every replica" in later.reason
    never = replace(stuck, refusal=Refusal(RefusalKind.INFEASIBLE))
    assert decide(RULES, never, START, 100).rung is Rung.GROW_HBM


def test_a_wish_that_nobody_comes_up_to_is_given_up_though_its_step_is_forgotten() -> None:
    stuck = seen(tier(8, 8, desired_mib=24, most_mib=12), judged=LATE)
    first = decide(RULES, stuck, START, 100)
    assert first.rung is Rung.HOLD
    back = decide(RULES, stuck, first.state, 160)
    assert (back.rung, end(back)) == (Rung.WITHDRAW, 12 * MIB)
    assert back.reason == "DRAM 12Mi -> 24Mi did not take effect within 60 s: back to 12Mi"
    assert Lever.DRAM in back.state.resting


def test_the_hourly_cap_holds() -> None:
    state = LadderState(steps_s=tuple(float(n) for n in range(30)))
    capped = decide(RULES, seen(judged=LATE), state, 3000)
    assert capped.rung is Rung.HOLD
    assert "30 steps were taken within the hour, the most allowed" in capped.reason
    assert decide(RULES, seen(judged=LATE), state, 3700).rung is Rung.GROW_DRAM


def test_plan_mode_decides_and_does_nothing() -> None:
    plan = replace(RULES, plan_only=True)
    decision = decide(plan, seen(judged=LATE), START, 100)
    assert (decision.rung, end(decision)) == (Rung.GROW_DRAM, 24 * MIB)
    assert not decision.execute
    assert decision.state.in_flight is None
