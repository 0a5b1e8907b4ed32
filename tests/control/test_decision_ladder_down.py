"""The decision ladder: down again, each rung by example."""

import pytest
from ladder_views import ALL_RUNGS, BATCH_LATE, GOOD, LATE, RULES, START, seen, tier
from superinfer_operator.ladder.decide import decide
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.move import Rung
from superinfer_operator.ladder.view import (
    Observed,
)


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


def calm(view: Observed) -> Decision:
    """Decide after ten minutes of nothing but ``view``."""
    return decide(ALL_RUNGS, view, decide(ALL_RUNGS, view, START, 0).state, 600)


IDLE = (tier(32, 2), tier(8, 1))


@pytest.mark.parametrize(
    ("view", "rung"),
    [
        pytest.param(
            seen(*IDLE, judged=GOOD, replicas=3, ready_replicas=3, class_shares={"batch": 0.5}),
            Rung.REMOVE_REPLICA,
            id="a replica first",
        ),
        pytest.param(
            seen(*IDLE, judged=GOOD, replicas=1, class_shares={"batch": 0.5}),
            Rung.RESTORE_CLASS,
            id="then the class",
        ),
        pytest.param(seen(*IDLE, judged=GOOD, replicas=1), Rung.SHRINK_HBM, id="then HBM"),
        pytest.param(
            seen(tier(32, 2), tier(4, 1), judged=GOOD, replicas=1), Rung.SHRINK_DRAM, id="then DRAM"
        ),
        pytest.param(
            seen(*IDLE, judged=GOOD, replicas=2, ready_replicas=2, waiting=1),
            Rung.SHRINK_HBM,
            id="no replica while requests wait",
        ),
        pytest.param(
            seen(*IDLE, judged=GOOD, replicas=2, ready_replicas=2, silent=("a",)),
            Rung.SHRINK_HBM,
            id="nor while one is silent",
        ),
        pytest.param(
            seen(tier(32, 15), tier(8, 3), judged=GOOD, replicas=2, ready_replicas=2),
            Rung.SHRINK_HBM,
            id="nor when one fewer could not carry it",
        ),
        pytest.param(
            seen(tier(4, 3), tier(8, 5), judged=GOOD, class_shares={"batch": 0.5}),
            Rung.HOLD,
            id="a class is not restored where it would fill HBM",
        ),
        pytest.param(
            seen(*IDLE, judged=BATCH_LATE, replicas=1, class_shares={"batch": 0.5}),
            Rung.RESTORE_CLASS,
            id="a class that is late because it was cut is restored",
        ),
    ],
)
def test_downwards_in_reverse_order(view: Observed, rung: Rung) -> None:
    assert calm(view).rung is rung


def test_what_was_soon_needed_again_is_given_back_more_slowly() -> None:
    quiet, busy = seen(tier(32, 4), tier(4, 4), judged=GOOD), seen(tier(24, 24), judged=LATE)
    state = decide(RULES, quiet, START, 0).state
    state = decide(RULES, quiet, state, 600).state
    state = decide(RULES, seen(tier(24, 4), tier(4, 4), judged=GOOD), state, 601).state
    grown = decide(RULES, busy, state, 620)
    assert grown.rung is Rung.GROW_DRAM
    state = decide(RULES, quiet, grown.state, 640).state
    assert decide(RULES, quiet, state, 1240).rung is Rung.HOLD
    assert decide(RULES, quiet, state, 1840).rung is Rung.SHRINK_DRAM
