"""Tensor-parallel ranks: an answer counts once all have given it, and their links add up."""

from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.copy_engine import CopyResult, EngineReport, LinkCalibration
from superinfer_runtime.engine.messages import WorkerReport
from superinfer_runtime.engine.ranks import RankAnswers, summed


@given(
    answers=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_each_question_is_complete_once_with_the_last_rank(
    answers: list[list[bool]], order: object
) -> None:
    given_answers = [(asked, done) for asked, ranks in enumerate(answers) for done in ranks]
    order.shuffle(given_answers)  # type: ignore[attr-defined]
    ranks = RankAnswers(3)
    heard: list[int] = []
    for asked, done in given_answers:
        heard.append(asked)
        found = ranks.add([asked] if done else [], [] if done else [asked])
        expected = [(asked, answers[asked].count(False))] if heard.count(asked) == 3 else []
        assert found == expected


def test_a_number_may_be_asked_again() -> None:
    ranks = RankAnswers(1)
    assert ranks.add([4], []) == [(4, 0)]
    assert ranks.add([], [4]) == [(4, 1)]


def test_bandwidths_add_up_and_the_largest_crossover_holds_for_all() -> None:
    ranks = [LinkCalibration(1.0, 2.0, 2.5, 64), LinkCalibration(10.0, 20.0, 25.0, 32)]
    assert summed(ranks) == LinkCalibration(11.0, 22.0, 27.5, 64)
    assert summed([LinkCalibration(1.0, 2.0, 2.5)]) == LinkCalibration(1.0, 2.0, 2.5)


def test_what_each_rank_says_reaches_the_scheduler() -> None:
    results = [CopyResult(1, True, 10, 0.1), CopyResult(1, True, 10, 0.2, "broken")]
    links = [LinkCalibration(1.0, 2.0, 2.5), LinkCalibration(3.0, 4.0, 5.0)]
    first = WorkerReport.of(EngineReport((results[0],), (7,), (), None, links[0], (3,)))
    second = WorkerReport.of(EngineReport((results[1],), (), (7,), "no memory", links[1], (4,)))
    assert first.aggregate(second) == WorkerReport(
        copied=results,
        slabs_ready=[7],
        slabs_gone=[7],
        slab_error="no memory",
        calibrations=links,
        stuck=[3, 4],
    )
