"""HBM's KV blocks: counted references, prefix cache, and vLLM's order of reuse.

A freed block that caches a full block of tokens keeps it until it is taken again, the one freed
longest ago first; one that caches nothing is taken before any of those. Blocks are plain numbers.
The pool offers what `HbmBudget` and `KvResidency` ask of vLLM's own
(`vllm/v1/core/block_pool.py`).

Invariant: a block is free exactly if nobody holds a reference on it.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence


class BlockPool:
    """``num_blocks`` blocks, all free at first."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.blocks = range(num_blocks)
        self._references = [0] * num_blocks
        self._free_empty = deque(range(num_blocks))
        self._free_cached: dict[int, None] = {}
        """Insertion order is the order of reuse."""
        self._blocks_of: dict[Hashable, list[int]] = {}
        self._key_of: dict[int, Hashable] = {}

    def get_num_free_blocks(self) -> int:
        return len(self._free_empty) + len(self._free_cached)

    def get_new_blocks(self, count: int) -> list[int]:
        """Take ``count`` blocks; what they cached is lost. ValueError if too few are free."""
        if count > self.get_num_free_blocks():
            raise ValueError(f"{count} blocks wanted, {self.get_num_free_blocks()} free")
        empty = self._free_empty
        taken = [empty.popleft() for _ in range(min(count, len(empty)))]
        while len(taken) < count:
            block = next(iter(self._free_cached))
            del self._free_cached[block]
            self._forget(block)
            taken.append(block)
        references = self._references
        for block in taken:
            references[block] = 1
        return taken

    def touch(self, blocks: Iterable[int]) -> None:
        """Hold another reference on each of ``blocks``, which are held or cached."""
        for block in blocks:
            if not self._references[block]:
                del self._free_cached[block]
            self._references[block] += 1

    def free_blocks(self, blocks: Iterable[int]) -> None:
        """Give a reference on each of ``blocks`` back, the first to be reused first."""
        references, key_of = self._references, self._key_of
        empty: list[int] = []
        for block in blocks:
            references[block] -= 1
            if not references[block]:
                if block in key_of:
                    self._free_cached[block] = None
                else:
                    empty.append(block)
        self._free_empty.extendleft(reversed(empty))

    def is_free(self, block: int) -> bool:
        return not self._references[block]

    def cached_prefix(self, keys: Sequence[Hashable | None]) -> list[int]:
        """Blocks that hold the longest cached prefix of ``keys``."""
        found: list[int] = []
        for key in keys:
            blocks = self._blocks_of.get(key) if key is not None else None
            if not blocks:
                break
            found.append(blocks[0])
        return found

    def cache(self, block: int, key: Hashable) -> None:
        """``block``, which caches nothing yet, holds what ``key`` names."""
        self._blocks_of.setdefault(key, []).append(block)
        self._key_of[block] = key

    def _forget(self, block: int) -> None:
        key = self._key_of.pop(block)
        blocks = self._blocks_of[key]
        blocks.remove(block)
        if not blocks:
            del self._blocks_of[key]
