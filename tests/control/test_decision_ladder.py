"""The decision ladder: each rung by example, and what must hold of all of them by property."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.kv_budget import TierState
from superinfer_contract.metrics import Objective, Tier
from superinfer_operator.budget import decide, refused
from superinfer_operator.budget_model import (
    SHRINK,
    Decision,
    Judged,
    LadderState,
    Observed,
    Rules,
    Rung,
    TierBounds,
)

MIB = 2**20
RULES = Rules(
    tiers={
        Tier.DRAM: TierBounds(4 * MIB, 32 * MIB, 8 * MIB),
        Tier.HBM: TierBounds(4 * MIB, 8 * MIB, 1 * MIB),
    },
    targets={"chat": 0.95, "batch": 0.8},
    window_s=15,
    min_events=10,
    cooldown_s=10,
    timeout_s=60,
    shrink_after_s=600,
)


def tier(allocated_mib: int, used_mib: int, *, desired_mib: int | None = None) -> TierState:
    return TierState(
        min_bytes=0,
        max_bytes=64 * MIB,
        desired_bytes=(allocated_mib if desired_mib is None else desired_mib) * MIB,
        allocated_bytes=allocated_mib * MIB,
        in_use_bytes=used_mib * MIB,
        step_bytes=MIB,
    )


def seen(dram: TierState | None = None, hbm: TierState | None = None, **rest: Any) -> Observed:
    tiers = {Tier.DRAM: dram or tier(16, 16), Tier.HBM: hbm or tier(6, 6)}
    return Observed(tiers=tiers, **rest)


LATE = (Judged("chat", Objective.TTFT, 30, 42), Judged("chat", Objective.JOINT, 29, 42))
GOOD = (Judged("chat", Objective.TTFT, 42, 42),)
START = LadderState()


def settled(decision: Decision, now_s: float, **tiers: TierState) -> Decision:
    """Decide on a view in which the last step has landed."""
    return decide(RULES, seen(judged=LATE, rotary=1, **tiers), decision.state, now_s)


def test_missed_objectives_with_full_dram_grow_dram() -> None:
    decision = decide(RULES, seen(judged=LATE), START, 100)
    assert decision.rung is Rung.GROW_DRAM
    assert decision.reason == (
        "class chat met TTFT for 71 % of 42 requests in 15 s, target 95 %; "
        "DRAM headroom 0 of 16Mi: grow DRAM 16Mi -> 24Mi"
    )
    patch = decision.patch()
    assert patch is not None
    assert (patch.dram_bytes, patch.hbm_bytes) == (24 * MIB, None)


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
        pytest.param(seen(tier(32, 32), tier(8, 8), judged=LATE), Rung.EXHAUSTED, id="all at max"),
        pytest.param(
            seen(tier(32, 32), tier(6, 1), judged=LATE), Rung.EXHAUSTED, id="HBM is not the matter"
        ),
        pytest.param(seen(judged=LATE, telemetry_age_s=None), Rung.HOLD, id="no telemetry"),
        pytest.param(seen(judged=LATE, telemetry_age_s=16), Rung.HOLD, id="stale telemetry"),
        pytest.param(
            seen(tier(16, 16, desired_mib=12), judged=LATE), Rung.HOLD, id="the runtime still moves"
        ),
    ],
)
def test_one_view_one_rung(view: Observed, rung: Rung) -> None:
    assert decide(RULES, view, START, 100).rung is rung


def test_hysteresis_tolerates_a_near_miss() -> None:
    near = seen(judged=(Judged("chat", Objective.TTFT, 93, 100),))
    assert decide(RULES, near, START, 0).rung is Rung.GROW_DRAM
    assert decide(replace(RULES, hysteresis=0.05), near, START, 0).rung is Rung.HOLD


def test_one_step_at_a_time_then_a_pause() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    waiting = decide(RULES, seen(tier(18, 18, desired_mib=24), judged=LATE), first.state, 101)
    assert (waiting.rung, waiting.reason) == (Rung.HOLD, "waiting for DRAM 16Mi -> 24Mi")

    landed = settled(waiting, 102, dram=tier(24, 24))
    assert (landed.ended, landed.landed) == (first.state.in_flight, True)
    assert landed.rung is Rung.HOLD
    assert landed.reason.endswith("grow DRAM 24Mi -> 32Mi after a pause of 10 s")
    assert settled(landed, 112, dram=tier(24, 24)).rung is Rung.GROW_DRAM


def test_a_step_that_does_not_take_effect_is_withdrawn_and_the_next_rung_tried() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    stuck = tier(18, 18, desired_mib=24)
    late = decide(RULES, seen(stuck, judged=LATE), first.state, 160)
    assert (late.rung, late.to_bytes, late.landed) == (Rung.WITHDRAW, 18 * MIB, False)
    assert late.reason == "DRAM 16Mi -> 24Mi did not take effect within 60 s: back to 18Mi"

    after = settled(late, 171, dram=tier(18, 18))
    assert after.rung is Rung.HOLD  # the cool-down
    following = settled(after, 182, dram=tier(18, 18))
    assert following.rung is Rung.GROW_HBM
    assert "DRAM rests after a step that failed" in following.reason


def test_a_step_that_was_never_taken_times_out_too() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    late = decide(replace(RULES, cooldown_s=0), seen(judged=LATE), first.state, 160)
    assert late.rung is Rung.GROW_HBM
    assert late.reason.startswith("DRAM 16Mi -> 24Mi did not take effect within 60 s; class chat")


def test_a_refused_step_lets_its_tier_rest() -> None:
    first = decide(RULES, seen(judged=LATE), START, 100)
    state = refused(RULES, first.state, 101)
    assert state.in_flight is None
    assert decide(RULES, seen(judged=LATE), state, 120).rung is Rung.GROW_HBM
    assert refused(RULES, START, 1) == START


def test_rotation_gets_a_window_to_help_before_hbm_grows() -> None:
    roomy = seen(tier(16, 4), judged=LATE, waiting=3)
    first = decide(RULES, roomy, START, 100)
    assert first.reason.endswith("DRAM headroom 12Mi of 16Mi: rotation has room to help")
    assert decide(RULES, roomy, first.state, 114).rung is Rung.ROTATE_MORE
    assert decide(RULES, roomy, first.state, 115).rung is Rung.GROW_HBM


def test_the_hourly_cap_holds() -> None:
    state = LadderState(steps_s=tuple(float(n) for n in range(30)))
    capped = decide(RULES, seen(judged=LATE), state, 3000)
    assert capped.rung is Rung.HOLD
    assert "30 steps were taken within the hour, the most allowed" in capped.reason
    assert decide(RULES, seen(judged=LATE), state, 3700).rung is Rung.GROW_DRAM


def test_shrinking_waits_long_and_keeps_room_for_what_was_held() -> None:
    quiet = seen(tier(32, 6), tier(6, 5), judged=GOOD)
    busier = seen(tier(32, 14), tier(6, 5), judged=GOOD)
    state = decide(RULES, quiet, START, 0).state
    state = decide(RULES, busier, state, 300).state
    assert decide(RULES, quiet, state, 599).rung is Rung.HOLD
    shrunk = decide(RULES, quiet, state, 600)
    assert shrunk.rung is Rung.SHRINK_DRAM
    assert shrunk.reason == "DRAM held at most 14Mi of 32Mi for 600 s: shrink DRAM 32Mi -> 24Mi"
    used = decide(RULES, seen(tier(32, 20), tier(6, 5), judged=GOOD), state, 599).state
    assert decide(RULES, quiet, used, 600).rung is Rung.HOLD


def test_plan_mode_decides_and_does_nothing() -> None:
    plan = replace(RULES, plan_only=True)
    decision = decide(plan, seen(judged=LATE), START, 100)
    assert (decision.rung, decision.to_bytes) == (Rung.GROW_DRAM, 24 * MIB)
    assert decision.patch() is None
    assert decision.state.in_flight is None


sizes = st.integers(0, 64)
counts = st.integers(0, 100)


@st.composite
def tiers(draw: st.DrawFn) -> TierState:
    unit = draw(st.sampled_from([1, 3, MIB // 2, MIB]))
    low, high = sorted((draw(sizes), draw(sizes)))
    allocated, desired = (draw(st.integers(low, high)) * MIB // unit * unit for _ in range(2))
    return TierState(
        min_bytes=low * MIB,
        max_bytes=high * MIB,
        desired_bytes=desired if draw(st.booleans()) else allocated,
        allocated_bytes=allocated,
        in_use_bytes=draw(st.integers(0, allocated)),
        step_bytes=unit,
    )


@st.composite
def views(draw: st.DrawFn) -> Observed:
    total = draw(counts)
    return Observed(
        tiers={each: draw(tiers()) for each in Tier if draw(st.booleans())},
        judged=(Judged("chat", Objective.TTFT, draw(st.integers(0, total)), total),),
        headroom_bytes={Tier.DRAM: draw(counts) * MIB} if draw(st.booleans()) else {},
        waiting=draw(counts),
        rotary=draw(counts),
        stalls=draw(counts),
        recomputes=draw(counts),
        telemetry_age_s=draw(st.sampled_from([None, 0.0, 1.0, 100.0])),
        rotation_off_reason=draw(st.sampled_from([None, "why"])),
    )


@given(
    steps=st.lists(st.tuples(views(), st.integers(0, 700)), min_size=1, max_size=6),
    plan_only=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_whatever_is_seen_the_ladder_keeps_its_word(
    steps: list[tuple[Observed, int]], plan_only: bool
) -> None:
    rules = replace(RULES, plan_only=plan_only)
    state, now_s = START, 0.0
    for view, pause_s in steps:
        now_s += pause_s
        before = state.in_flight
        decision = decide(rules, view, state, now_s)
        assert decision == decide(rules, view, state, now_s)
        if decision.to_bytes is not None:
            assert decision.tier is not None
            bounds, held = rules.tiers[decision.tier], view.tiers[decision.tier]
            assert bounds.min_bytes <= decision.to_bytes <= bounds.max_bytes
            assert held.min_bytes <= decision.to_bytes <= held.max_bytes
            assert decision.to_bytes % held.step_bytes == 0
        if decision.patch() is not None:
            assert not plan_only
            # The step before it has ended, and no other tier is on its way.
            assert before is None or decision.ended == before
            moving = [t for t, held in view.tiers.items() if held.pending]
            assert not moving or (decision.rung is Rung.WITHDRAW and decision.tier in moving)
            assert decision.state.in_flight is not None
        assert decision.reason
        state = decision.state


@given(
    load=st.integers(0, 80),
    dram=st.integers(4, 32),
    turn_s=st.sampled_from([1, 7, 20]),
    floor_bytes=st.sampled_from([1, MIB // 2, MIB]),
)
@settings(deadline=None, max_examples=50)
def test_a_constant_load_never_sees_a_budget_go_to_and_fro(
    load: int, dram: int, turn_s: int, floor_bytes: int
) -> None:
    """The load fills HBM first and overflows to DRAM; what does not fit makes requests late."""
    rules = replace(RULES, max_steps_per_hour=1000, shrink_after_s=50)
    held = {Tier.DRAM: dram * MIB // floor_bytes * floor_bytes, Tier.HBM: 6 * MIB}
    state, moves = START, []
    for turn in range(400):
        in_hbm = min(load * MIB, held[Tier.HBM])
        overflow = load * MIB - in_hbm
        in_dram = min(overflow, held[Tier.DRAM])
        is_late = overflow > in_dram
        view = Observed(
            tiers={
                each: TierState(
                    min_bytes=0,
                    max_bytes=64 * MIB,
                    desired_bytes=held[each],
                    allocated_bytes=held[each],
                    in_use_bytes=used,
                    step_bytes=floor_bytes,
                )
                for each, used in ((Tier.DRAM, in_dram), (Tier.HBM, in_hbm))
            },
            judged=(Judged("chat", Objective.TTFT, 10 if is_late else 50, 50),),
            rotary=1 if overflow else 0,
            stalls=1.0 if is_late else 0.0,
        )
        decision = decide(rules, view, state, float(turn * turn_s))
        state = decision.state
        if decision.to_bytes is not None:
            assert decision.tier is not None
            held[decision.tier] = decision.to_bytes
            moves.append((decision.tier, decision.rung))
    for each in Tier:
        rungs = [rung for moved, rung in moves if moved is each]
        shrunk = [rung in SHRINK.values() for rung in rungs]
        assert shrunk == sorted(shrunk), moves  # once it shrank it never grows again
    assert len(moves) < 60  # and it comes to rest
