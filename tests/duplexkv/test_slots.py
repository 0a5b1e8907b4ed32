"""The slot pool: no slot twice, none of a slab that is not there, and every resize ends."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from superinfer_runtime.duplexkv.slots import SlabChanges, SlotPool

SLOTS_PER_SLAB = 3
pick = st.integers(0, 1 << 16)


def ready_pool(num_slabs: int) -> SlotPool:
    pool = SlotPool(SLOTS_PER_SLAB)
    pool.resize(num_slabs)
    for number in pool.take_changes().add:
        pool.slab_ready(number)
    return pool


class SlotMachine(RuleBasedStateMachine):
    """An engine that answers late and in any order, and owners that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = SlotPool(SLOTS_PER_SLAB)
        self.there: set[int] = set()
        self.refused: set[int] = set()
        self.adding: list[int] = []
        self.dropping: list[int] = []
        self.used: list[int] = []

    @rule(target_slabs=st.integers(0, 4))
    def resize(self, target_slabs: int) -> None:
        self.pool.resize(target_slabs)

    @rule()
    def take_changes(self) -> None:
        changes = self.pool.take_changes()
        assert not set(changes.add) & (self.there | set(self.adding))
        assert set(changes.drop) <= self.there - set(self.dropping)
        assert not any(slot // SLOTS_PER_SLAB in changes.drop for slot in self.used)
        assert self.refused <= set(changes.drop) | set(self.dropping)
        self.adding += changes.add
        self.dropping += changes.drop

    @precondition(lambda self: self.adding)
    @rule(which=pick, answer=st.sampled_from(["ready", "gone", "refused"]))
    def acknowledge_add(self, which: int, answer: str) -> None:
        number = self.adding.pop(which % len(self.adding))
        target = self.pool.target_slabs
        num_usable = len(self.there - self.refused - set(self.dropping)) + len(self.adding)
        if answer == "gone":
            self.pool.slab_gone(number)
        elif answer == "refused":
            self.pool.slab_refused(number)
            self.there.add(number)
            self.refused.add(number)
        else:
            self.pool.slab_ready(number)
            self.there.add(number)
            assert self.pool.target_slabs == target
            return
        assert self.pool.target_slabs == min(target, num_usable)

    @precondition(lambda self: self.dropping)
    @rule(which=pick)
    def acknowledge_drop(self, which: int) -> None:
        number = self.dropping.pop(which % len(self.dropping))
        self.pool.slab_gone(number)
        self.there.remove(number)
        self.refused.discard(number)

    @rule(count=st.integers(0, 5))
    def allocate(self, count: int) -> None:
        num_free = self.pool.num_free
        taken = self.pool.allocate(count)
        assert (taken is None) == (count > num_free)
        for slot in taken or ():
            assert slot not in self.used
            assert slot // SLOTS_PER_SLAB in self.there - set(self.dropping) - self.refused
            assert not self.pool.is_retiring(slot)
            self.used.append(slot)

    @precondition(lambda self: self.used)
    @rule(which=pick)
    def free(self, which: int) -> None:
        self.pool.free([self.used.pop(which % len(self.used))])

    @invariant()
    def counts_agree(self) -> None:
        assert self.pool.num_used == len(self.used)
        assert self.pool.num_used + self.pool.num_free <= len(self.there) * SLOTS_PER_SLAB
        assert self.pool.allocated_slabs == len(self.there)

    def teardown(self) -> None:
        """Whatever happened: with all slots free, the size asked for is reached."""
        self.pool.free(self.used)
        self.used = []
        for _ in range(3):  # a slab asked for too late retires once it is there
            self.take_changes()
            while self.adding:
                self.acknowledge_add(0, answer="ready")
            while self.dropping:
                self.acknowledge_drop(0)
        assert self.pool.settled
        assert len(self.there) == self.pool.target_slabs
        assert self.pool.num_free == len(self.there) * SLOTS_PER_SLAB


SlotMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestSlotMachine = SlotMachine.TestCase


def test_nothing_is_handed_out_before_the_slab_is_there() -> None:
    pool = SlotPool(SLOTS_PER_SLAB)
    pool.resize(1)
    assert pool.take_changes().add == (0,)
    assert pool.allocate(1) is None
    assert pool.allocated_slabs == 0
    pool.slab_ready(0)
    assert pool.allocate(3) == [0, 1, 2]
    assert pool.allocate(1) is None


def test_shrinking_waits_for_the_last_slot() -> None:
    pool = ready_pool(2)
    slots = pool.allocate(6)
    assert slots is not None
    pool.resize(1)
    assert pool.take_changes().drop == ()
    assert pool.has_retiring
    assert not pool.settled
    retiring = [slot for slot in slots if pool.is_retiring(slot)]
    pool.free(retiring)
    assert pool.num_free == 0, "a retiring slab's slots are not handed out again"
    assert pool.take_changes().drop == (retiring[0] // SLOTS_PER_SLAB,)
    pool.slab_gone(retiring[0] // SLOTS_PER_SLAB)
    assert pool.settled


def test_the_emptiest_slab_goes_first() -> None:
    pool = ready_pool(3)
    pool.allocate(4)
    pool.resize(2)
    assert pool.take_changes().drop == (2,)


def test_growing_while_shrinking_takes_the_retiring_slab_back() -> None:
    pool = ready_pool(2)
    pool.allocate(6)
    pool.resize(1)
    pool.take_changes()
    pool.resize(2)
    changes = pool.take_changes()
    assert (changes.add, changes.drop) == ((), ())
    assert pool.settled


def test_growing_while_a_slab_is_dropped_asks_for_another_number() -> None:
    pool = ready_pool(1)
    pool.resize(0)
    assert pool.take_changes().drop == (0,)
    pool.resize(1)
    assert pool.take_changes().add == (1,)


def test_a_slab_asked_for_and_no_longer_wanted_is_given_back() -> None:
    pool = SlotPool(SLOTS_PER_SLAB)
    pool.resize(1)
    pool.take_changes()
    pool.resize(0)
    assert pool.take_changes().drop == ()
    pool.slab_ready(0)
    assert pool.take_changes().drop == (0,)


def test_what_cannot_be_had_is_not_asked_for_again() -> None:
    pool = ready_pool(1)
    pool.resize(3)
    assert pool.take_changes().add == (1, 2)
    pool.slab_gone(1)
    assert pool.target_slabs == 2, "the other one may still come"
    pool.slab_ready(2)
    assert pool.take_changes() == SlabChanges()
    assert pool.settled


def test_a_slab_that_some_ranks_refuse_is_dropped_by_all_and_never_used() -> None:
    pool = SlotPool(SLOTS_PER_SLAB)
    pool.resize(1)
    pool.take_changes()
    pool.slab_refused(0)
    pool.resize(1)
    assert pool.num_free == 0
    changes = pool.take_changes()
    assert (changes.add, changes.drop) == ((1,), (0,)), "wished for again, it is another slab"
    pool.slab_gone(0)
    pool.slab_ready(1)
    assert pool.settled


def test_a_refusal_keeps_a_slab_that_was_about_to_go() -> None:
    pool = ready_pool(1)
    pool.allocate(1)
    pool.resize(2)
    pool.take_changes()
    pool.resize(1)
    pool.take_changes()
    assert pool.has_retiring
    pool.slab_gone(1)
    pool.take_changes()
    assert pool.settled
    assert pool.target_slabs == 1


def test_a_slab_holds_at_least_one_slot() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        SlotPool(0)
