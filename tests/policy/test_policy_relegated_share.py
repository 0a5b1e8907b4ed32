"""What relegated requests may hold: their share, and the end of congestion collapse."""

from hypothesis import given
from hypothesis import strategies as st
from policy_engine import FakeEngine, poisson_jobs
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.relegated_share import (
    SHARE_OF_HBM,
    relegated_room_blocks,
    within_room,
)

sizes = st.lists(st.integers(1, 50), max_size=12)


def sized(blocks: int) -> Candidate:
    return Candidate("r", Targets(5.0, 0.1), 0.0, blocks=blocks)


@given(sizes=sizes, room=st.integers(-5, 200))
def test_the_first_ones_take_the_room_and_the_last_of_them_may_exceed_it(
    sizes: list[int], room: int
) -> None:
    candidates = [sized(blocks) for blocks in sizes]
    inside, outside = within_room(candidates, room)
    assert inside + outside == candidates
    assert sum(c.blocks for c in inside[:-1]) < max(room, 1)
    if outside:
        assert sum(c.blocks for c in inside) >= room


@given(sizes=sizes, free=st.integers(-20, 500))
def test_there_is_room_for_one_and_else_for_a_share(sizes: list[int], free: int) -> None:
    room = relegated_room_blocks(free, [sized(blocks) for blocks in sizes])
    assert 1 <= room <= max(SHARE_OF_HBM * (max(free, 0) + sum(sizes)), 1)


def test_however_long_an_overload_lasts_promises_are_kept_to_its_end() -> None:
    """Twice what the engine bears, far beyond the time after which relegated requests have aged."""
    jobs = poisson_jobs(1, 2.4, 400.0)
    engine = FakeEngine(jobs, 560, SchedulerKnobs(), num_dram=200)
    while engine.now_s < 400.0:
        engine.step()
    late = [job for job in jobs if 250.0 <= job.candidate.arrival_s < 350.0]
    kept = [job for job in late if job.finished and job.is_good]
    assert len(kept) >= 0.3 * len(late)
    assert any(job.finished and not job.is_good for job in jobs), (
        "those who missed their objectives are served, too"
    )
    assert engine.discards
