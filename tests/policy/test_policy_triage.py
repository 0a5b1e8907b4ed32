"""Triage: the fewest late, nobody let go without need, everybody looked at anew."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.rotasched import Iteration, decide
from superinfer_runtime.policy.triage import LEAD_STEPS, PrefillPace, let_go, ttft_deadline_s

NOW_S = 100.0
PACE = PrefillPace(step_s=0.05, block_s=0.1)


def waiting_request(name: str, waited_s: float, blocks: int, ttft_s: float = 5.0) -> Candidate:
    return Candidate(name, Targets(ttft_s, 0.1), NOW_S - waited_s, blocks=blocks)


waiting_requests = st.lists(
    st.builds(
        waiting_request,
        st.just("r"),
        waited_s=st.floats(0.0, 6.0),
        blocks=st.integers(1, 40),
        ttft_s=st.sampled_from([1.0, 5.0, 8.0]),
    ),
    max_size=8,
)


def all_in_time(chosen: tuple[Candidate, ...]) -> bool:
    """Whether prompts computed one after the other by deadline are all in time."""
    end_s = NOW_S + LEAD_STEPS * PACE.step_s
    for candidate in sorted(chosen, key=ttft_deadline_s):
        end_s += PACE.block_s * candidate.blocks
        if end_s > ttft_deadline_s(candidate) + 1e-9:
            return False
    return True


@given(waiting=waiting_requests)
def test_who_is_kept_is_in_time_and_nobody_could_keep_more(waiting: list[Candidate]) -> None:
    gone = let_go(waiting, NOW_S, PACE)
    kept = tuple(c for c in waiting if id(c) not in gone)
    assert all_in_time(kept)
    larger = combinations(waiting, len(kept) + 1)
    assert not any(all_in_time(chosen) for chosen in larger)


@given(waiting=waiting_requests)
def test_while_nothing_is_known_only_the_late_are_let_go(waiting: list[Candidate]) -> None:
    gone = let_go(waiting, NOW_S, PrefillPace())
    assert gone == {id(c) for c in waiting if ttft_deadline_s(c) < NOW_S}


def test_a_request_that_had_its_first_token_is_not_judged_by_it() -> None:
    again = waiting_request("recomputed", waited_s=60.0, blocks=400)
    again.record_tokens(1, NOW_S - 58.0)
    assert let_go([again], NOW_S, PACE) == set()


def test_with_room_for_all_the_tighter_deadline_goes_first_and_the_late_one_last() -> None:
    batch = waiting_request("batch", waited_s=2.0, blocks=20, ttft_s=30.0)
    late = waiting_request("late", waited_s=4.99, blocks=20)
    chat = waiting_request("chat", waited_s=0.1, blocks=2, ttft_s=1.0)
    iteration = Iteration(
        NOW_S, running=[], waiting=[batch, late, chat], rotary=[], free_blocks=1000, pace=PACE
    )
    decision = decide(iteration, SchedulerKnobs())
    assert not decision.contended
    assert decision.admit == [chat, batch, late]
