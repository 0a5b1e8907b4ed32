"""What holds of the ladder whatever it is shown: one property a guarantee."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.metrics import Objective, Tier
from superinfer_operator.ladder.decide import decide
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.rules import Lever, ReplicaBounds, Rules, TierBounds
from superinfer_operator.ladder.step import DOWNWARDS
from superinfer_operator.ladder.view import (
    Donor,
    Judged,
    Neighbourhood,
    Observed,
    Refusal,
    RefusalKind,
    TierView,
)

MIB = 2**20
RULES = Rules(
    tiers={
        Tier.DRAM: TierBounds(4 * MIB, 32 * MIB, 8 * MIB),
        Tier.HBM: TierBounds(4 * MIB, 8 * MIB, 1 * MIB),
    },
    targets={"chat": 0.95, "batch": 0.8},
    weights={"chat": 1.0, "batch": 0.1},
    min_class_share=0.25,
    replicas=ReplicaBounds(1, 3),
    window_s=15,
    min_events=10,
    cooldown_s=10,
    timeout_s=60,
    start_timeout_s=300,
    max_steps_per_hour=6,
    shrink_after_s=100,
)
counts = st.integers(0, 100)


@st.composite
def tiers(draw: st.DrawFn, tier: Tier, pressed: bool) -> TierView:
    """A tier around its bounds, full or nearly empty, at rest or on its way."""
    unit = draw(st.sampled_from([1, 3, MIB // 2, MIB]))
    bounds = RULES.tiers[tier]
    low = draw(st.sampled_from([0, bounds.min_bytes + 1, bounds.max_bytes - MIB]))
    high = draw(st.sampled_from([64 * MIB, bounds.max_bytes - MIB - 1]))
    inside = st.integers(bounds.min_bytes - MIB, bounds.max_bytes + MIB)
    sizes = sorted(draw(inside) // unit * unit for _ in range(3))
    calm = draw(st.integers(0, 3)) > 0
    return TierView(
        min_bytes=min(low, high),
        max_bytes=high,
        desired_bytes=sizes[0] if calm else draw(st.sampled_from(sizes)),
        allocated_bytes=sizes[0],
        most_allocated_bytes=sizes[0] if calm else sizes[1],
        in_use_bytes=sizes[0] if pressed else draw(st.integers(0, sizes[0] // 3)),
        step_bytes=unit,
        pending=not calm,
    )


@st.composite
def views(draw: st.DrawFn) -> Observed:
    """Mostly services under pressure, or long idle: what is in between moves nothing."""
    pressed = draw(st.booleans())
    good = draw(st.integers(0, 50)) if pressed else 50
    return Observed(
        tiers={each: draw(tiers(each, pressed)) for each in Tier if draw(st.integers(0, 5))},
        judged=(
            Judged("chat", Objective.TTFT, good, 50),
            Judged("batch", Objective.TTFT, draw(st.integers(30, 50)), 50),
        ),
        headroom_bytes={Tier.DRAM: 8.0 * MIB} if draw(st.integers(0, 3)) == 0 else {},
        waiting=draw(counts) if pressed else 0,
        rotary=draw(counts) if pressed else 0,
        stalls=draw(counts) if pressed else 0,
        telemetry_age_s=draw(st.sampled_from([0.0, 0.0, 0.0, None, 100.0])),
        rotation_off_reason=draw(st.sampled_from([None, None, "why"])),
        class_shares=draw(st.sampled_from([{}, {"batch": 0.5}, {"batch": 0.25}])),
        classes_pending=draw(st.integers(0, 5)) == 0,
        replicas=draw(st.integers(1, 3)),
        ready_replicas=draw(st.integers(0, 4)),
        refusal=draw(st.sampled_from([None, None, *(Refusal(kind) for kind in RefusalKind)])),
        neighbourhood=Neighbourhood(
            draw(st.sampled_from([0, MIB])), (Donor("other", draw(st.integers(1, 8)) * MIB),)
        ),
    )


@dataclass(frozen=True)
class Moment:
    """One decision and what led to it."""

    rules: Rules
    view: Observed
    before: LadderState
    decision: Decision
    now_s: float

    @property
    def made(self) -> Move | None:
        """The move that is carried out."""
        return self.decision.move if self.decision.execute else None


@st.composite
def histories(draw: st.DrawFn) -> list[Moment]:
    """Repeated looks at a few views, long enough for every time-out to matter."""
    rules = replace(
        RULES,
        shares_gpus=draw(st.booleans()),
        max_steps_per_hour=draw(st.sampled_from([2, 100])),
    )
    state, now_s, moments = LadderState(), 0.0, []
    for view in draw(st.lists(views(), min_size=1, max_size=6)):
        for _ in range(draw(st.integers(1, 12))):
            now_s += draw(st.sampled_from([1, 15, 61, 301]))
            decision = decide(rules, view, state, now_s)
            moments.append(Moment(rules, view, state, decision, now_s))
            state = decision.state
    return moments


def steps(history: list[Moment]) -> Iterator[tuple[Moment, Move]]:
    """The steps taken; a withdrawal is none."""
    for moment in history:
        if moment.made is not None and moment.made.rung is not Rung.WITHDRAW:
            yield moment, moment.made


MANY = settings(deadline=None, max_examples=150)


@given(histories())
@MANY
def test_no_move_leaves_what_spec_and_runtimes_allow(history: list[Moment]) -> None:
    for moment in history:
        move = moment.decision.move
        if move is None or move.rung is Rung.WITHDRAW:
            continue
        match move.lever:
            case Lever.CLASSES:
                assert RULES.min_class_share <= move.end <= 1
            case Lever.REPLICAS:
                assert 1 <= move.end <= 3
                assert abs(move.end - move.start) == 1
            case _:
                assert move.tier is not None
                bounds, held = RULES.tiers[move.tier], moment.view.tiers[move.tier]
                assert bounds.min_bytes <= move.end <= bounds.max_bytes
                assert held.min_bytes <= move.end <= held.max_bytes
                assert move.end % held.step_bytes == 0


@given(histories())
@MANY
def test_a_withdrawal_goes_back_and_never_beyond(history: list[Moment]) -> None:
    for moment in history:
        if moment.made is not None and moment.made.rung is Rung.WITHDRAW:
            assert moment.decision.ended is not None
            failed = moment.decision.ended.move
            assert moment.made.start == failed.end
            assert min(failed.start, failed.end) <= moment.made.end <= max(failed.start, failed.end)
            assert moment.made.end != failed.end


@given(histories())
@MANY
def test_one_step_is_in_flight_at_a_time_and_each_ends_in_time(history: list[Moment]) -> None:
    for moment in history:
        flying, before = moment.decision.state.in_flight, moment.before.in_flight
        if moment.made is not None:
            assert before is None or moment.decision.ended == before
            assert flying is not None
            assert flying.move == moment.made
        if flying is not None:
            allowed_s = RULES.time_to_land_s(flying.move.lever)
            assert moment.now_s == flying.since_s or moment.now_s - flying.since_s < allowed_s


@given(histories())
@MANY
def test_steps_keep_a_pause_and_the_hourly_cap(history: list[Moment]) -> None:
    ended_s, taken_s = -1e9, []
    for moment in history:
        if moment.decision.ended is not None:
            ended_s = moment.now_s
        made = moment.made
        if made is not None and made.rung is not Rung.WITHDRAW:
            assert moment.now_s - ended_s >= RULES.cooldown_s
            taken_s = [at_s for at_s in taken_s if at_s > moment.now_s - 3600] + [moment.now_s]
            assert len(taken_s) <= moment.rules.max_steps_per_hour


@given(histories())
@MANY
def test_what_is_given_back_was_long_not_needed(history: list[Moment]) -> None:
    last_s = 0.0
    for moment, move in steps(history):
        if move.rung in DOWNWARDS:
            assert moment.now_s - last_s >= RULES.shrink_after_s
        last_s = moment.now_s


@given(histories())
@MANY
def test_a_lever_whose_step_failed_rests(history: list[Moment]) -> None:
    rests_until_s: dict[Lever, float] = {}
    for moment in history:
        made, ended = moment.made, moment.decision.ended
        if made is not None and made.rung is not Rung.WITHDRAW:
            assert moment.now_s >= rests_until_s.get(made.lever, 0.0)
        if ended is not None and not moment.decision.landed:
            rests_until_s[ended.move.lever] = moment.now_s + 5 * RULES.timeout_s
            assert moment.decision.state.resting[ended.move.lever].message


@given(histories())
@MANY
def test_nothing_is_begun_without_fresh_telemetry(history: list[Moment]) -> None:
    for moment, _ in steps(history):
        age_s = moment.view.telemetry_age_s
        assert age_s is not None
        assert age_s <= RULES.stale_s


@given(histories())
@MANY
def test_with_shared_gpus_hbm_is_taken_and_never_made(history: list[Moment]) -> None:
    for moment, move in steps(history):
        if not moment.rules.shares_gpus:
            assert move.rung is not Rung.SHIFT_HBM
            continue
        assert move.rung is not Rung.GROW_HBM
        if move.rung is Rung.SHIFT_HBM:
            near = moment.view.neighbourhood
            source = near.donors[0].spare_bytes if move.donor else near.free_bytes
            assert move.end - move.start <= source


@given(st.lists(st.tuples(views(), st.integers(0, 700)), min_size=1, max_size=8))
@MANY
def test_plan_mode_says_what_it_would_do_and_does_nothing(
    looks: list[tuple[Observed, int]],
) -> None:
    rules, state, now_s = replace(RULES, plan_only=True), LadderState(), 0.0
    for view, pause_s in looks:
        now_s += pause_s
        decision = decide(rules, view, state, now_s)
        assert decision == decide(rules, view, state, now_s)
        assert decision.reason
        assert not decision.execute
        state = decision.state
        assert state.in_flight is None
