"""Class shares: the cap is kept, progress is kept, and without a cut nothing changes."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.class_share import within_shares
from superinfer_runtime.policy.rotasched import Iteration, decide

NOW_S = 100.0
CLASSES = ("chat", "batch", "night")
TARGETS = Targets(ttft_s=5.0, tbt_s=0.1)
cuts = st.dictionaries(st.sampled_from(CLASSES), st.sampled_from([0.05, 0.25, 0.5, 1.0]))


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    return Candidate(
        request_id=str(draw(st.integers(0, 10**6))),
        targets=TARGETS,
        arrival_s=draw(st.floats(0.0, NOW_S)),
        blocks=draw(st.integers(1, 30)),
        first_token_s=0.0,
        last_token_s=draw(st.floats(0.0, NOW_S)),
        rotatable=True,
        slo_class=draw(st.sampled_from(CLASSES)),
    )


@st.composite
def iterations(draw: st.DrawFn) -> Iteration:
    waiting = draw(st.lists(candidates(), max_size=6))
    return Iteration(
        now_s=NOW_S,
        running=draw(st.lists(candidates(), max_size=6)),
        waiting=sorted(waiting, key=lambda candidate: candidate.arrival_s),
        rotary=draw(st.lists(candidates(), max_size=6)),
        free_blocks=draw(st.integers(0, 80)),
    )


def blocks_of(candidates: list[Candidate], slo_class: str) -> int:
    return sum(each.blocks for each in candidates if each.slo_class == slo_class)


@settings(max_examples=200)
@given(iteration=iterations(), shares=cuts, budget=st.integers(1, 200))
def test_a_cut_class_admits_no_more_than_its_share_holds(
    iteration: Iteration, shares: Mapping[str, float], budget: int
) -> None:
    decided = decide(within_shares(iteration, shares, budget), SchedulerKnobs())

    for name, share in shares.items():
        admitted = [c for c in (*decided.admit, *decided.rotate_in) if c.slo_class == name]
        running = [c for c in iteration.running if c.slo_class == name]
        alone = not running and len(admitted) == 1
        if share < 1 and admitted and not alone:
            held = blocks_of(running, name) + blocks_of(admitted, name)
            assert held <= int(share * budget)


@settings(max_examples=200)
@given(iteration=iterations(), shares=cuts, budget=st.integers(1, 200))
def test_a_class_that_holds_nothing_may_run_one(
    iteration: Iteration, shares: Mapping[str, float], budget: int
) -> None:
    allowed = within_shares(iteration, shares, budget)

    for name in CLASSES:
        wants = [c for c in (*iteration.rotary, *iteration.waiting) if c.slo_class == name]
        runs = any(c.slo_class == name for c in iteration.running)
        may = [c for c in (*allowed.rotary, *allowed.waiting) if c.slo_class == name]
        assert runs or not wants or may
        assert not runs or not all(c.over_share for c in iteration.running if c.slo_class == name)


@given(iteration=iterations(), budget=st.integers(1, 200))
def test_whole_shares_change_nothing(iteration: Iteration, budget: int) -> None:
    assert within_shares(iteration, dict.fromkeys(CLASSES, 1.0), budget) is iteration
    assert not any(candidate.over_share for candidate in iteration.running)


def test_what_a_class_holds_beyond_its_share_goes_first() -> None:
    def running(name: str, slo_class: str, since_s: float) -> Candidate:
        return Candidate(
            name, TARGETS, NOW_S - 2 + since_s / 100, blocks=10, max_tokens=1000,
            num_tokens=500, first_token_s=NOW_S - 1, last_token_s=NOW_S,
            run_start_s=since_s, rotatable=True, slo_class=slo_class,
        )  # fmt: skip

    late = Candidate("late", TARGETS, NOW_S - 4.0, blocks=10, slo_class="chat")
    iteration = Iteration(
        now_s=NOW_S,
        running=[running("old", "chat", 10.0), running("b1", "batch", 20.0),
                 running("b2", "batch", 30.0)],
        waiting=[late],
        rotary=[],
        free_blocks=0,
    )  # fmt: skip

    free = decide(within_shares(iteration, {}, 30), SchedulerKnobs())
    cut = decide(within_shares(iteration, {"batch": 0.4}, 30), SchedulerKnobs())

    assert [each.request_id for each in free.rotate_out] == ["old"]
    assert [each.request_id for each in cut.rotate_out] == ["b2"]
