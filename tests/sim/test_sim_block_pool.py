"""HBM's blocks: nobody's or somebody's, taken in vLLM's order, remembered until taken again."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from superinfer_runtime.sim.block_pool import BlockPool

NUM_BLOCKS = 8


class PoolUse(RuleBasedStateMachine):
    """Holders take, share, cache and return blocks; a plain model says what must be true."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(NUM_BLOCKS)
        self.holders: list[list[int]] = []
        self.keys: dict[int, int] = {}
        """What each block caches, until it is taken again."""
        self.given_back: list[int] = []
        """Free blocks that cache something, in order of reuse."""

    @rule(count=st.integers(0, NUM_BLOCKS + 1))
    def take(self, count: int) -> None:
        free = self.pool.get_num_free_blocks()
        if count > free:
            with pytest.raises(ValueError, match=f"{count} blocks wanted, {free} free"):
                self.pool.get_new_blocks(count)
            return
        taken = self.pool.get_new_blocks(count)
        assert len(set(taken)) == count
        assert not {block for holder in self.holders for block in holder} & set(taken)
        num_from_cache = max(count - (free - len(self.given_back)), 0)
        from_cache, self.given_back = (
            self.given_back[:num_from_cache],
            self.given_back[num_from_cache:],
        )
        assert [block for block in taken if block in self.keys] == from_cache
        for block in from_cache:
            del self.keys[block]
        self.holders.append(taken)

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        holder = self.holders.pop(data.draw(st.integers(0, len(self.holders) - 1)))
        self.pool.free_blocks(reversed(holder))
        held = {block for other in self.holders for block in other}
        self.given_back += [b for b in reversed(holder) if b in self.keys and b not in held]

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), key=st.integers(0, 5))
    def cache(self, data: st.DataObject, key: int) -> None:
        holder = data.draw(st.sampled_from(self.holders))
        uncached = [block for block in holder if block not in self.keys]
        if uncached:
            self.pool.cache(uncached[0], key)
            self.keys[uncached[0]] = key

    @rule(keys=st.lists(st.none() | st.integers(0, 5), max_size=4, unique=True))
    def share(self, keys: list[int | None]) -> None:
        found = self.pool.cached_prefix(keys)
        assert [self.keys[block] for block in found] == keys[: len(found)]
        missing = keys[len(found) :][:1]
        assert not missing or missing[0] not in self.keys.values()
        self.pool.touch(found)
        self.given_back = [block for block in self.given_back if block not in found]
        self.holders.append(found)

    @invariant()
    def free_is_what_nobody_holds(self) -> None:
        held = Counter(block for holder in self.holders for block in holder)
        assert self.pool.get_num_free_blocks() == NUM_BLOCKS - len(held)
        for block in self.pool.blocks:
            assert self.pool.is_free(block) == (block not in held)


TestPoolUse = PoolUse.TestCase
TestPoolUse.settings = settings(max_examples=150, stateful_step_count=40)


@given(st.integers(1, 30))
def test_blocks_that_cache_nothing_go_first_and_the_last_returned_of_them_first(count: int) -> None:
    pool = BlockPool(count)
    taken = pool.get_new_blocks(count)
    for block in taken[::2]:
        pool.cache(block, block)
    pool.free_blocks(taken)
    uncached, cached = taken[1::2], taken[::2]
    assert pool.get_new_blocks(count) == uncached + cached


def test_a_returned_request_loses_its_end_first() -> None:
    """So what is left of it is a prefix, which others may still use."""
    pool = BlockPool(6)
    blocks = pool.get_new_blocks(4)
    for index, block in enumerate(blocks):
        pool.cache(block, index)
    pool.free_blocks(reversed(blocks))
    lengths = []
    for _ in range(6):
        pool.get_new_blocks(1)
        lengths.append(len(pool.cached_prefix(range(4))))
    assert lengths == [4, 4, 3, 2, 1, 0]


def test_two_blocks_of_one_content_serve_until_both_are_taken() -> None:
    pool = BlockPool(2)
    first, second = pool.get_new_blocks(2)
    pool.cache(first, "text")
    pool.cache(second, "text")
    assert pool.cached_prefix(["text"]) == [first]
    pool.free_blocks([first, second])
    assert pool.get_new_blocks(1) == [first]
    assert pool.cached_prefix(["text"]) == [second]
    pool.get_new_blocks(1)
    assert pool.cached_prefix(["text"]) == []
