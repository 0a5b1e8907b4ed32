"""The baselines: the same budgets as RotaSched, and each its own order."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.baselines.fcfs_swap import decide_fcfs_swap
from superinfer_runtime.policy.baselines.lvf import decide_lvf
from superinfer_runtime.policy.baselines.ranked import (
    PROMOTE_AFTER_S,
    Rank,
    Ranked,
    deadline,
    feedback_level,
    remaining_tokens,
)
from superinfer_runtime.policy.baselines.released import DRAM_FULL, DRAM_NEARLY_FULL, OldestFirst
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.rotasched import Decision, Iteration

NOW_S = 1000.0
QUANTUM_S = 0.5
ENOUGH = 1 << 20
DRAM_BLOCKS = 100
WATERMARK = 20
OUTPUT_TOKENS = {str(number): 1 + 37 * number % 500 for number in range(1000)}

RANKS: dict[str, Rank] = {
    "edf": deadline,
    "sjf": remaining_tokens(OUTPUT_TOKENS),
    "mlfq": feedback_level,
}
BASELINES: dict[str, Callable[[Iteration], Decision]] = {
    "fcfs-swap": decide_fcfs_swap,
    **{name: Ranked(rank, QUANTUM_S) for name, rank in RANKS.items()},
    "released": OldestFirst(WATERMARK, DRAM_BLOCKS),
    "lvf": lambda iteration: decide_lvf(iteration, SchedulerKnobs()),
}
ranks = st.sampled_from(sorted(RANKS)).map(RANKS.__getitem__)


@st.composite
def candidates(draw: st.DrawFn, started: bool) -> Candidate:
    candidate = Candidate(
        request_id=str(draw(st.integers(0, 999))),
        targets=Targets(draw(st.sampled_from([0.5, 5.0])), draw(st.sampled_from([0.02, 0.1]))),
        arrival_s=NOW_S - draw(st.floats(0.0, 60.0)),
        blocks=draw(st.integers(1, 40)),
        dram_blocks=draw(st.integers(0, 10)),
        max_tokens=500,
    )
    if started:
        candidate.first_token_s = draw(st.floats(candidate.arrival_s, NOW_S))
        candidate.last_token_s = draw(st.floats(candidate.first_token_s, NOW_S))
        candidate.num_tokens = draw(st.integers(1, 500))
        candidate.run_start_s = draw(st.floats(candidate.arrival_s, NOW_S))
        candidate.rotatable = draw(st.booleans())
    return candidate


def arrived_s(candidate: Candidate) -> float:
    return candidate.arrival_s


iterations = st.builds(
    Iteration,
    now_s=st.just(NOW_S),
    running=st.lists(candidates(started=True), max_size=6),
    waiting=st.lists(candidates(started=False), max_size=6).map(
        lambda drawn: sorted(drawn, key=arrived_s)
    ),
    rotary=st.lists(candidates(started=True), max_size=6),
    free_blocks=st.integers(-30, 80),
    arriving_blocks=st.integers(0, 40),
    growth_blocks=st.integers(0, 12),
    free_seats=st.integers(0, 4) | st.just(ENOUGH),
    free_dram_blocks=st.integers(0, DRAM_BLOCKS),
)


def available(iteration: Iteration) -> int:
    return iteration.free_blocks - iteration.growth_blocks


def total(chosen: Sequence[Candidate]) -> int:
    return sum(candidate.blocks for candidate in chosen)


def left_out(everybody: Sequence[Candidate], chosen: Sequence[Candidate]) -> list[Candidate]:
    ids = set(map(id, chosen))
    return [candidate for candidate in everybody if id(candidate) not in ids]


@pytest.mark.parametrize("name", BASELINES)
@given(iteration=iterations)
def test_budgets_hold(name: str, iteration: Iteration) -> None:
    decision = BASELINES[name](iteration)
    entering = [*decision.admit, *decision.rotate_in]
    assert total(entering) <= max(available(iteration), 0)
    assert len(entering) <= iteration.free_seats + len(decision.rotate_out)
    assert sum(c.dram_blocks for c in decision.rotate_out) <= iteration.free_dram_blocks
    assert all(victim.rotatable for victim in decision.rotate_out)


@pytest.mark.parametrize("name", BASELINES)
@given(iteration=iterations)
def test_everybody_goes_one_way_and_only_contention_leaves_anybody_out(
    name: str, iteration: Iteration
) -> None:
    decision = BASELINES[name](iteration)
    for chosen, queue in (
        (decision.admit, iteration.waiting),
        (decision.rotate_in, iteration.rotary),
        (decision.rotate_out, iteration.running),
    ):
        assert len(set(map(id, chosen))) == len(chosen)
        assert set(map(id, chosen)) <= set(map(id, queue))
    if not decision.contended:
        assert decision.rotate_out == []
        assert len(decision.admit) == len(iteration.waiting)
        assert len(decision.rotate_in) == len(iteration.rotary)


@given(iterations)
def test_swap_restores_everybody_before_it_admits_anybody(iteration: Iteration) -> None:
    decision = decide_fcfs_swap(iteration)
    if decision.admit:
        assert len(decision.rotate_in) == len(iteration.rotary)
        assert decision.rotate_out == []
    for chosen, queue in (
        (decision.rotate_in, iteration.rotary),
        (decision.admit, iteration.waiting),
    ):
        assert chosen == sorted(queue, key=arrived_s)[: len(chosen)]


@given(iterations)
def test_swap_evicts_for_growth_alone_and_the_last_to_come_first(iteration: Iteration) -> None:
    decision = decide_fcfs_swap(iteration)
    short = -available(iteration) - iteration.arriving_blocks
    victims = decision.rotate_out
    assert all(one.arrival_s >= other.arrival_s for one, other in pairwise(victims))
    assert total(victims[:-1]) < max(short, 1)
    stay = [c for c in left_out(iteration.running, victims) if c.rotatable]
    if total(victims) < short:
        dram_left = iteration.free_dram_blocks - sum(c.dram_blocks for c in victims)
        assert all(candidate.dram_blocks > dram_left for candidate in stay)
        assert decision.stalled == bool(stay)


def test_a_swap_that_dram_has_no_room_for_is_told() -> None:
    only = Candidate("a", Targets(0.5, 0.02), NOW_S, blocks=4, dram_blocks=4, max_tokens=9)
    only.rotatable = True
    full = Iteration(NOW_S, [only], [], [], free_blocks=0, growth_blocks=1, free_dram_blocks=0)
    decision = decide_fcfs_swap(full)
    assert decision.stalled
    assert decision.contended


@given(iterations, ranks)
def test_the_best_ranked_enter_and_only_worse_ones_leave_for_them(
    iteration: Iteration, rank: Rank
) -> None:
    decision = Ranked(rank, QUANTUM_S)(iteration)
    entering = [*decision.admit, *decision.rotate_in]
    outside = [*iteration.waiting, *iteration.rotary]
    best = sorted(outside, key=lambda c: rank(c, NOW_S))[: len(entering)]
    assert [rank(c, NOW_S) for c in best] == sorted(rank(c, NOW_S) for c in entering)
    if -available(iteration) - iteration.arriving_blocks > 0:
        return  # room for growth is taken from whoever ranks worst
    for victim in decision.rotate_out:
        assert NOW_S - victim.run_start_s >= QUANTUM_S
        assert all(rank(victim, NOW_S) >= rank(c, NOW_S) for c in entering)
        assert any(rank(victim, NOW_S) >= rank(c, NOW_S) for c in left_out(outside, entering))


@given(iterations, ranks)
def test_nobody_leaves_where_everybody_fits(iteration: Iteration, rank: Rank) -> None:
    decision = Ranked(rank, QUANTUM_S)(iteration)
    outside = total([*iteration.waiting, *iteration.rotary])
    assert not decision.rotate_out or outside > available(iteration) + iteration.arriving_blocks


def running(name: str, **fields: object) -> Candidate:
    return Candidate(
        name,
        Targets(5.0, 0.1),
        NOW_S - 60.0,
        first_token_s=NOW_S - 50.0,
        last_token_s=NOW_S,
        rotatable=True,
        **fields,  # type: ignore[arg-type]
    )


def waiting(name: str, **fields: object) -> Candidate:
    return Candidate(name, Targets(5.0, 0.1), NOW_S - 4.0, blocks=10, **fields)  # type: ignore[arg-type]


def full_house(
    inside: Sequence[Candidate], outside: Sequence[Candidate], free_blocks: int = 0
) -> Iteration:
    return Iteration(NOW_S, running=inside, waiting=outside, rotary=[], free_blocks=free_blocks)


def test_edf_evicts_whose_next_token_is_due_last() -> None:
    far_ahead = running("ahead", blocks=10, num_tokens=600)  # due in 10 s
    behind = running("behind", blocks=10, num_tokens=480)  # due 2 s ago
    newcomer = waiting("new")  # due in 1 s
    assert deadline(far_ahead, NOW_S) == pytest.approx(NOW_S + 10.0)
    assert deadline(behind, NOW_S) == pytest.approx(NOW_S - 2.0)
    assert deadline(newcomer, NOW_S) == pytest.approx(NOW_S + 1.0)
    decision = BASELINES["edf"](full_house([far_ahead, behind], [newcomer]))
    assert decision.rotate_out == [far_ahead]
    assert decision.admit == [], "its room is still on the way out"
    decision = BASELINES["edf"](full_house([behind], [newcomer], free_blocks=10))
    assert decision.admit == [newcomer]


def test_sjf_knows_the_lengths_and_serves_the_shortest_rest() -> None:
    nearly_done = running("long", blocks=10, num_tokens=95)
    just_begun = running("longer", blocks=10, num_tokens=5)
    short, medium = waiting("short"), waiting("medium")
    lengths = {"long": 100, "longer": 400, "short": 2, "medium": 50}
    sjf = Ranked(remaining_tokens(lengths), QUANTUM_S)
    decision = sjf(full_house([nearly_done, just_begun], [medium, short], free_blocks=10))
    assert decision.admit == [short]
    assert decision.rotate_out == [just_begun]


def test_a_feedback_queue_sinks_with_each_doubling_and_lifts_the_starved() -> None:
    levels = [
        feedback_level(running("r", blocks=blocks, run_start_s=NOW_S), NOW_S)[0]
        for blocks in (1, 2, 3, 4, 7, 8)
    ]
    assert levels == [1, 2, 2, 3, 3, 4]
    starved = Candidate("s", Targets(5.0, 0.1), NOW_S - PROMOTE_AFTER_S - 1.0, blocks=512)
    assert feedback_level(starved, NOW_S)[0] == 0
    assert feedback_level(starved, NOW_S - 2.0)[0] > 0


def test_within_its_quantum_nobody_is_evicted_by_rank() -> None:
    fresh = running("fresh", blocks=10, num_tokens=600, run_start_s=NOW_S - QUANTUM_S / 2)
    assert BASELINES["edf"](full_house([fresh], [waiting("new")])).rotate_out == []
    fresh.run_start_s = NOW_S - QUANTUM_S
    assert BASELINES["edf"](full_house([fresh], [waiting("new")])).rotate_out == [fresh]


def used_share(iteration: Iteration) -> float:
    return 1.0 - iteration.free_dram_blocks / DRAM_BLOCKS


@given(iterations)
def test_the_released_scheduler_keeps_its_watermark_free(iteration: Iteration) -> None:
    decision = BASELINES["released"](iteration)
    short = WATERMARK - available(iteration) - iteration.arriving_blocks
    victims = decision.rotate_out
    if not decision.contended or short <= 0 or used_share(iteration) >= DRAM_FULL:
        assert victims == []
        return
    assert total(victims[:-1]) < short
    assert all(one.run_start_s <= other.run_start_s for one, other in pairwise(victims))
    if total(victims) < short:
        dram_left = iteration.free_dram_blocks - sum(c.dram_blocks for c in victims)
        stay = [c for c in left_out(iteration.running, victims) if c.rotatable]
        assert all(candidate.dram_blocks > dram_left for candidate in stay)


@given(iterations)
def test_the_released_scheduler_serves_the_oldest_first(iteration: Iteration) -> None:
    decision = BASELINES["released"](iteration)
    if not decision.contended:
        return

    def since_s(candidate: Candidate) -> float:
        is_new = candidate.first_token_s is None
        return candidate.arrival_s if is_new else candidate.last_token_s

    entering = [*decision.admit, *decision.rotate_in]
    others = left_out([*iteration.waiting, *iteration.rotary], entering)
    if used_share(iteration) <= DRAM_NEARLY_FULL:
        assert all(since_s(c) <= since_s(other) for c in entering for other in others)
    elif decision.admit:
        assert len(decision.rotate_in) == len(iteration.rotary)


@given(iterations)
def test_the_papers_knows_neither_credit_nor_relegation_nor_quantum(iteration: Iteration) -> None:
    ours = SchedulerKnobs(tbt_credit=0.9, relegate=True, run_quantum_s=5.0)
    papers = SchedulerKnobs(tbt_credit=0.0, relegate=False, run_quantum_s=0.0)
    assert decide_lvf(iteration, ours) == decide_lvf(iteration, papers)


@given(iterations)
def test_the_papers_admits_in_order_of_arrival_while_there_is_room(iteration: Iteration) -> None:
    decision = decide_lvf(iteration, SchedulerKnobs())
    if not decision.contended:
        assert decision.admit == list(iteration.waiting)


def test_the_published_watermark_is_a_share_of_hbm() -> None:
    # 2,400 blocks where it was published: 62 GB of KV in blocks of 16 tokens.
    assert OldestFirst.published(15_000, 7) == OldestFirst(2_400, 7)
