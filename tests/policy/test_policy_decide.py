"""One decision of RotaSched: what must hold of any, on any state."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.lag import is_lost, rotary_lag_s, waiting_lag_s
from superinfer_runtime.policy.rotasched import Decision, Iteration, blocks_ahead, decide
from superinfer_runtime.policy.triage import ttft_deadline_s

NOW_S = 1000.0
ENOUGH = 1 << 20

targets = st.builds(
    Targets, ttft_s=st.sampled_from([0.5, 5.0]), tbt_s=st.sampled_from([0.02, 0.1, 1.0])
)
sizes = st.integers(1, 40)


@st.composite
def candidates(draw: st.DrawFn, started: bool) -> Candidate:
    candidate = Candidate(
        request_id=str(draw(st.integers(0, 10**6))),
        targets=draw(targets),
        arrival_s=NOW_S - draw(st.floats(0.0, 100.0)),
        blocks=draw(sizes),
        dram_blocks=draw(st.integers(0, 10)),
        max_tokens=draw(st.integers(1, 1000)),
    )
    if started:
        candidate.first_token_s = draw(st.floats(candidate.arrival_s, NOW_S))
        candidate.last_token_s = draw(st.floats(candidate.first_token_s, NOW_S))
        candidate.num_tokens = draw(st.integers(1, candidate.max_tokens))
        candidate.run_start_s = draw(st.floats(candidate.arrival_s, NOW_S))
        candidate.rotatable = draw(st.booleans())
    return candidate


@st.composite
def iterations(draw: st.DrawFn) -> Iteration:
    running = draw(st.lists(candidates(started=True), max_size=6))
    waiting = draw(st.lists(candidates(started=False), max_size=6))
    return Iteration(
        now_s=NOW_S,
        running=running,
        waiting=sorted(waiting, key=lambda candidate: candidate.arrival_s),
        rotary=draw(st.lists(candidates(started=True), max_size=6)),
        free_blocks=draw(st.integers(-30, 80)),
        arriving_blocks=draw(st.integers(0, 40)),
        growth_blocks=draw(st.integers(0, 12)),
        free_seats=draw(st.integers(0, 4) | st.just(ENOUGH)),
        free_dram_blocks=draw(st.integers(0, 20) | st.just(ENOUGH)),
        transfer_blocks=draw(st.integers(0, 60) | st.just(ENOUGH)),
    )


knob_sets = st.builds(
    SchedulerKnobs,
    tbt_credit=st.sampled_from([0.0, 0.5]),
    relegate=st.booleans(),
    run_quantum_s=st.sampled_from([0.0, 0.5]),
)


def lag_s(candidate: Candidate, knobs: SchedulerKnobs) -> float:
    lag_of = waiting_lag_s if candidate.first_token_s is None else rotary_lag_s
    return lag_of(candidate, NOW_S, knobs)


def growth_short(iteration: Iteration) -> int:
    return iteration.growth_blocks - iteration.free_blocks - iteration.arriving_blocks


def total(candidates: list[Candidate]) -> int:
    return sum(candidate.blocks for candidate in candidates)


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_budgets_hold(iteration: Iteration, knobs: SchedulerKnobs) -> None:
    decision = decide(iteration, knobs)
    entering = [*decision.admit, *decision.rotate_in]
    available = iteration.free_blocks - iteration.growth_blocks
    assert total(entering) <= max(available, 0)
    assert len(entering) <= iteration.free_seats + len(decision.rotate_out)
    given_up = sum(c.dram_blocks for c in decision.discard)
    assert sum(c.dram_blocks for c in decision.rotate_out) <= iteration.free_dram_blocks + given_up
    # The link may be overdrawn by the last victim only (one always may go: nothing is stuck).
    moved = sum(max(c.dram_blocks, 1) for c in decision.rotate_out[:-1])
    assert moved < iteration.transfer_blocks or len(decision.rotate_out) <= 1


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_everybody_goes_one_way(iteration: Iteration, knobs: SchedulerKnobs) -> None:
    decision = decide(iteration, knobs)
    entering = [*decision.admit, *decision.rotate_in]
    assert len(set(map(id, entering))) == len(entering)
    assert set(map(id, decision.admit)) <= set(map(id, iteration.waiting))
    assert set(map(id, decision.rotate_in)) <= set(map(id, iteration.rotary))
    assert set(map(id, decision.discard)) <= set(map(id, iteration.rotary))
    assert set(map(id, decision.discard)).isdisjoint(map(id, decision.rotate_in))
    assert set(map(id, decision.rotate_out)) <= set(map(id, iteration.running))
    assert len(set(map(id, decision.rotate_out))) == len(decision.rotate_out)


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_victims_are_due(iteration: Iteration, knobs: SchedulerKnobs) -> None:
    """Only for lag, growth or a lowered budget; never within the quantum for lag's sake."""
    decision = decide(iteration, knobs)
    victims = decision.rotate_out
    assert all(victim.rotatable for victim in victims)
    if not victims:
        return
    assert decision.contended
    short = growth_short(iteration)
    assert decision.lagging or short > 0
    if short > 0:
        return
    for victim in victims:
        assert victim.run_start_s <= NOW_S - knobs.run_quantum_s
        assert (
            knobs.tbt_credit == 0
            or (knobs.relegate and is_lost(victim, NOW_S))
            or victim.ahead_s(NOW_S) >= knobs.run_quantum_s
        )


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_victims_free_what_is_needed_and_hardly_more(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    """Without the last victim it would not be enough: by blocks, or by seats."""
    decision = decide(iteration, knobs)
    if not decision.rotate_out:
        return
    needed = total([candidate for _, candidate in decision.lagging]) + max(
        growth_short(iteration), 0
    )
    seats_needed = len(decision.lagging) - iteration.free_seats
    but_last = decision.rotate_out[:-1]
    assert total(but_last) < needed or len(but_last) < seats_needed
    # And what they make room for is what may move: the link, and one request larger than it.
    room = (
        max(iteration.free_blocks - iteration.growth_blocks, 0)
        + iteration.arriving_blocks
        + iteration.transfer_blocks
    )
    largest = max((candidate.blocks for _, candidate in decision.lagging), default=0)
    claimed = max(room, largest)
    freed = iteration.free_blocks - iteration.growth_blocks + iteration.arriving_blocks
    assert total(but_last) < max(claimed - freed, 1) or len(but_last) < seats_needed


@settings(max_examples=60)
@given(iteration=iterations(), knobs=knob_sets)
def test_without_contention_all_get_in_the_tightest_deadline_first(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    roomy = with_room_for_all(iteration)
    decision = decide(roomy, knobs)
    assert set(map(id, decision.admit)) == set(map(id, roomy.waiting))
    assert decision == Decision(False, admit=decision.admit, rotate_in=list(roomy.rotary))
    late = [knobs.relegate and ttft_deadline_s(c) < NOW_S for c in decision.admit]
    assert late == sorted(late)
    for is_late in (False, True):
        due_s = [ttft_deadline_s(c) for c in decision.admit if late[_index(decision, c)] == is_late]
        assert due_s == sorted(due_s)


@settings(max_examples=60)
@given(iteration=iterations(), knobs=knob_sets)
def test_without_contention_one_class_is_served_first_come_first_served(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    targets = Targets(ttft_s=NOW_S, tbt_s=0.1)
    for candidate in iteration.waiting:
        candidate.targets = targets
    roomy = with_room_for_all(iteration)
    assert decide(roomy, knobs).admit == list(roomy.waiting)


def with_room_for_all(iteration: Iteration) -> Iteration:
    demand = total([*iteration.waiting, *iteration.rotary]) + iteration.growth_blocks
    return replace(iteration, free_blocks=demand, free_seats=ENOUGH)


def _index(decision: Decision, candidate: Candidate) -> int:
    return next(n for n, c in enumerate(decision.admit) if c is candidate)


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_within_tolerance_nobody_forces_a_rotation(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    patient = replace(
        iteration,
        waiting=[c for c in iteration.waiting if lag_s(c, knobs) == 0.0],
        rotary=[c for c in iteration.rotary if lag_s(c, knobs) == 0.0],
    )
    assume(growth_short(patient) <= 0)
    decision = decide(patient, knobs)
    assert decision.rotate_out == []
    if not knobs.relegate:
        # What fits of them gets in, the tightest deadline first.
        admitted = [*decision.admit, *decision.rotate_in]
        for candidate in (*patient.waiting, *patient.rotary):
            if candidate not in admitted and admitted:
                assert ttft_deadline_s(candidate) >= max(map(ttft_deadline_s, admitted))


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_larger_lag_is_never_passed_over_for_smaller(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    """Of two requests of one size, the one with more lag goes first."""
    decision = decide(iteration, knobs)
    if not decision.contended:
        return
    admitted = {id(c) for c in (*decision.admit, *decision.rotate_in)}
    for lag, candidate in decision.lagging:
        for other_lag, other in decision.lagging:
            if lag > other_lag and candidate.blocks <= other.blocks and id(other) in admitted:
                assert id(candidate) in admitted


@settings(max_examples=100)
@given(iteration=iterations(), knobs=knob_sets)
def test_only_what_is_lost_loses_its_kv_and_only_for_want_of_dram(
    iteration: Iteration, knobs: SchedulerKnobs
) -> None:
    decision = decide(iteration, knobs)
    assert all(knobs.relegate and is_lost(c, NOW_S) for c in decision.discard)
    assert decide(replace(iteration, free_dram_blocks=ENOUGH), knobs).discard == []


@settings(max_examples=60)
@given(iteration=iterations(), knobs=knob_sets)
def test_same_state_same_decision(iteration: Iteration, knobs: SchedulerKnobs) -> None:
    assert decide(iteration, knobs) == decide(iteration, knobs)


def waiting(name: str, waited_s: float, blocks: int) -> Candidate:
    return Candidate(name, Targets(5.0, 0.1), NOW_S - waited_s, blocks=blocks)


def running(name: str, stint_s: float, blocks: int, num_tokens: int = 100) -> Candidate:
    candidate = Candidate(
        name, Targets(5.0, 0.1), NOW_S - stint_s, blocks=blocks, max_tokens=1000, rotatable=True
    )
    candidate.dram_blocks = blocks
    candidate.first_token_s = candidate.run_start_s = NOW_S - stint_s
    candidate.num_tokens = num_tokens
    candidate.last_token_s = NOW_S
    return candidate


def test_longest_stint_makes_room_for_the_largest_lag() -> None:
    young, old = running("young", 2.0, 10), running("old", 4.0, 10)
    iteration = Iteration(
        NOW_S, [young, old], [waiting("w", 4.0, 8)], [], free_blocks=0, transfer_blocks=100
    )
    decision = decide(iteration, SchedulerKnobs())
    assert decision.rotate_out == [old]
    assert decision.admit == [], "its blocks come with the acknowledgement"
    assert [candidate.request_id for _, candidate in decision.lagging] == ["w"]


def test_blocks_on_their_way_are_not_asked_for_twice() -> None:
    iteration = Iteration(
        NOW_S,
        [running("r", 4.0, 10)],
        [waiting("w", 4.0, 8)],
        [],
        free_blocks=0,
        arriving_blocks=8,
        transfer_blocks=100,
    )
    assert decide(iteration, SchedulerKnobs()).rotate_out == []


def test_large_head_reserves_and_gets_in() -> None:
    """Small ones behind it do not take what it saves up, and nothing else is needed."""
    head = waiting("large", 4.5, 50)
    small = [waiting(f"small{n}", 4.0, 1) for n in range(3)]
    state = Iteration(
        NOW_S,
        [running(f"r{n}", 4.0, 10) for n in range(6)],
        [head, *small],
        [],
        free_blocks=5,
        transfer_blocks=10,
    )
    steps = 0
    while not (decision := decide(state, SchedulerKnobs())).admit:
        steps += 1
        assert steps < 10
        state = replace(
            state,
            running=[c for c in state.running if c not in decision.rotate_out],
            free_blocks=state.free_blocks + total(decision.rotate_out),
        )
    assert decision.admit[0] is head
    assert steps > 1, "the link cannot move it at once"


def test_full_dram_is_a_stall_and_another_victim_is_looked_for() -> None:
    large, small = running("large", 4.0, 10), running("small", 2.0, 4)
    state = Iteration(
        NOW_S,
        [large, small],
        [waiting("w", 4.0, 4)],
        [],
        free_blocks=0,
        free_dram_blocks=4,
        transfer_blocks=100,
    )
    decision = decide(state, SchedulerKnobs())
    assert decision.stalled
    assert decision.rotate_out == [small]
    assert decide(replace(state, free_dram_blocks=0), SchedulerKnobs()).rotate_out == []


def test_growth_takes_even_those_within_their_quantum() -> None:
    fresh = running("fresh", 0.1, 10, num_tokens=3)
    state = Iteration(NOW_S, [fresh], [], [], free_blocks=0, growth_blocks=2, transfer_blocks=9)
    assert decide(state, SchedulerKnobs()).rotate_out == [fresh]
    assert decide(replace(state, arriving_blocks=2), SchedulerKnobs()).rotate_out == []


def test_lowered_budget_is_met_by_rotation() -> None:
    state = Iteration(
        NOW_S,
        [running(f"r{n}", 4.0 + n, 10) for n in range(4)],
        [],
        [],
        free_blocks=-15,
        transfer_blocks=100,
    )
    decision = decide(state, SchedulerKnobs())
    assert [victim.request_id for victim in decision.rotate_out] == ["r3", "r2"]


def test_more_seats_taken_than_there_are_admits_nobody() -> None:
    state = Iteration(
        NOW_S,
        [running("r", 0.1, 10)],
        [waiting("w", 1.0, 1)],
        [],
        free_blocks=100,
        free_seats=-1,
    )
    assert decide(state, SchedulerKnobs()).admit == []


def test_growth_counts_whole_blocks_up_to_the_end() -> None:
    assert blocks_ahead(16, 99, 4, 16) == 2
    assert blocks_ahead(10, 99, 4, 16) == 1
    assert blocks_ahead(100, 999, 4, 16) == 7
    assert blocks_ahead(30, 32, 48, 16) == 2
    assert blocks_ahead(32, 32, 48, 16) == 3, "one token ahead in any case"
