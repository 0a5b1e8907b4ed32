"""The ledger by example: what a rotation moves, what a mirror saves, what a failure costs."""

import pytest
from superinfer_runtime.duplexkv.jobs import Copy, Finished, Job, JobKind
from superinfer_runtime.duplexkv.ledger import BlockLedger
from superinfer_runtime.duplexkv.slots import SlotPool

BLOCK_SIZE = 4


def make_ledger(num_slots: int = 8) -> BlockLedger:
    slots = SlotPool(num_slots)
    slots.resize(1)
    for number in slots.take_changes().add:
        slots.slab_ready(number)
    return BlockLedger(slots, BLOCK_SIZE)


def blocks_of(job: Job | None) -> list[int]:
    return [copy.block for copy in job.copies] if job else []


def mirror(ledger: BlockLedger, request_id: str, blocks: list[int], num_full: int) -> None:
    job = ledger.start_mirror([(request_id, blocks, num_full)], 100)
    assert job is not None
    ledger.finish(job.job_id)


def rotate_out(ledger: BlockLedger, request_id: str, blocks: list[int], num_tokens: int) -> Job:
    job = ledger.rotate_out(request_id, blocks, num_tokens)
    assert job is not None
    return job


def test_without_mirror_all_blocks_move() -> None:
    ledger = make_ledger()
    job = rotate_out(ledger, "a", [7, 8, 9], 10)
    assert (job.kind, blocks_of(job)) == (JobKind.OUT, [7, 8, 9])
    assert not ledger.is_in_dram("a")
    assert ledger.finish(job.job_id).rotated_out == ("a",)
    assert ledger.is_in_dram("a")


def test_with_mirror_only_the_tail_moves() -> None:
    ledger = make_ledger()
    mirror(ledger, "a", [7, 8, 9], 2)
    assert ledger.num_unmirrored("a", 3) == 1
    assert blocks_of(rotate_out(ledger, "a", [7, 8, 9], 10)) == [9]


def test_fully_mirrored_request_leaves_at_once() -> None:
    ledger = make_ledger()
    mirror(ledger, "a", [7, 8], 2)
    assert ledger.rotate_out("a", [7, 8], 8) is None
    assert ledger.is_in_dram("a")


def test_rotating_out_waits_for_mirrors_under_way() -> None:
    ledger = make_ledger()
    mirrored = ledger.start_mirror([("a", [7, 8], 2)], 100)
    assert mirrored is not None
    tail = rotate_out(ledger, "a", [7, 8, 9], 9)
    assert ledger.finish(tail.job_id).rotated_out == ()
    finished = ledger.finish(mirrored.job_id)
    assert finished.rotated_out == ("a",)
    assert finished.unpin == (7, 8)


def test_second_rotation_moves_only_what_was_written_since() -> None:
    ledger = make_ledger()
    ledger.finish(rotate_out(ledger, "a", [7, 8], 6).job_id)
    load = ledger.rotate_in("a", [1, 2], num_present=0)
    assert blocks_of(load) == [1, 2]
    assert ledger.finish(load.job_id).rotated_in == ("a",)
    # Block 1 was full and stays good in DRAM; the tail grew and a third block began.
    assert blocks_of(rotate_out(ledger, "a", [1, 2, 3], 9)) == [2, 3]


def test_tail_that_filled_up_after_a_rotation_is_mirrored() -> None:
    ledger = make_ledger()
    ledger.finish(rotate_out(ledger, "a", [7, 8], 6).job_id)
    ledger.finish(ledger.rotate_in("a", [1, 2], num_present=0).job_id)
    assert blocks_of(ledger.start_mirror([("a", [1, 2], 2)], 100)) == [2]


def test_mirror_given_up_for_another_request_is_made_again() -> None:
    ledger = make_ledger(num_slots=3)
    mirror(ledger, "a", [1, 2], 2)
    assert ledger.can_rotate_out("b", 12)
    ledger.finish(rotate_out(ledger, "b", [4, 5, 6], 12).job_id)
    assert ledger.num_unmirrored("a", 2) == 2
    assert ledger.start_mirror([("a", [1, 2], 2)], 100) is None, "no slot is free"
    ledger.forget("b")
    assert blocks_of(ledger.start_mirror([("a", [1, 2], 2)], 100)) == [1, 2]


def test_own_mirrors_are_not_room_for_oneself() -> None:
    ledger = make_ledger(num_slots=2)
    mirror(ledger, "a", [1, 2], 2)
    assert ledger.num_available_slots == 2
    assert not ledger.can_rotate_out("a", 9)
    assert ledger.can_rotate_out("a", 8)


def test_prefix_cache_hits_are_not_copied() -> None:
    ledger = make_ledger()
    ledger.finish(rotate_out(ledger, "a", [7, 8, 9], 10).job_id)
    load = ledger.rotate_in("a", [7, 8, 1], num_present=2)
    assert blocks_of(load) == [1]
    assert ledger.finish(load.job_id).rotated_in == ("a",)


def test_something_is_left_to_load() -> None:
    ledger = make_ledger()
    ledger.finish(rotate_out(ledger, "a", [7], 4).job_id)
    with pytest.raises(ValueError, match="leave at least one block"):
        ledger.rotate_in("a", [7], num_present=1)


@pytest.mark.parametrize("into_hbm", [False, True])
def test_failed_rotation_loses_the_request_and_nothing_else(into_hbm: bool) -> None:
    ledger = make_ledger()
    mirror(ledger, "b", [5], 1)
    job = rotate_out(ledger, "a", [7, 8], 6)
    if into_hbm:
        ledger.finish(job.job_id)
        job = ledger.rotate_in("a", [1, 2], num_present=0)
    finished = ledger.finish(job.job_id, ok=False)
    assert finished.lost == ("a",)
    assert finished.unpin == tuple(blocks_of(job))
    assert ledger.slots.num_used == 1
    ledger.check()


def test_failed_mirror_loses_nothing() -> None:
    ledger = make_ledger()
    job = ledger.start_mirror([("a", [7], 1)], 100)
    assert job is not None
    assert ledger.finish(job.job_id, ok=False).lost == ()
    assert blocks_of(ledger.start_mirror([("a", [7], 1)], 100)) == [7]


def test_slot_of_a_finished_request_stays_taken_until_its_copy_is_acknowledged() -> None:
    ledger = make_ledger(num_slots=1)
    job = ledger.start_mirror([("a", [7], 1)], 100)
    assert job is not None
    ledger.forget("a")
    assert not ledger.can_rotate_out("b", 1)
    assert ledger.start_mirror([("a", [3], 1)], 100) is None, "the same id, come again"
    assert ledger.finish(job.job_id).unpin == (7,)
    again = ledger.start_mirror([("a", [3], 1)], 100)
    assert again is not None
    assert again.copies == (Copy(3, job.copies[0].slot),)


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("into_hbm", [False, True])
def test_abandoned_rotation_loses_the_request_and_keeps_its_slots(into_hbm: bool, ok: bool) -> None:
    ledger = make_ledger()
    job = rotate_out(ledger, "a", [7, 8], 6)
    if into_hbm:
        ledger.finish(job.job_id)
        job = ledger.rotate_in("a", [1, 2], num_present=0)
    assert ledger.abandon(job.job_id) == ("a",)
    assert ledger.num_requests == 0
    assert ledger.slots.num_used == 2
    ledger.check()
    again = rotate_out(ledger, "a", [3, 4], 6)
    assert not {c.slot for c in again.copies} & {c.slot for c in job.copies}
    finished = ledger.finish(job.job_id, ok=ok)
    assert finished == Finished(unpin=tuple(blocks_of(job)))
    assert ledger.slots.num_used == 2
    assert ledger.finish(again.job_id).rotated_out == ("a",)
    ledger.check()


def test_abandoned_mirror_loses_nothing_and_is_made_again_elsewhere() -> None:
    ledger = make_ledger()
    job = ledger.start_mirror([("a", [7], 1)], 100)
    assert job is not None
    assert ledger.abandon(job.job_id) == ()
    assert ledger.num_unmirrored("a", 1) == 1
    again = ledger.start_mirror([("a", [7], 1)], 100)
    assert blocks_of(again) == [7]
    assert again is not None
    assert again.copies[0].slot != job.copies[0].slot
    assert ledger.finish(job.job_id) == Finished(unpin=(7,))
    assert ledger.finish(again.job_id).unpin == (7,)
    assert ledger.num_unmirrored("a", 1) == 0
    ledger.check()


def test_abandoned_mirror_of_a_request_on_its_way_out_loses_it() -> None:
    ledger = make_ledger()
    mirrored = ledger.start_mirror([("a", [7, 8], 2)], 100)
    assert mirrored is not None
    tail = rotate_out(ledger, "a", [7, 8, 9], 9)
    assert ledger.abandon(mirrored.job_id) == ("a",)
    assert ledger.finish(tail.job_id) == Finished(unpin=(9,))
    assert ledger.slots.num_used == 2
    ledger.finish(mirrored.job_id)
    assert ledger.slots.num_used == 0


def test_rotating_out_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        make_ledger(num_slots=1).rotate_out("a", [1, 2], 8)
