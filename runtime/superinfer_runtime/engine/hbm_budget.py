"""A live HBM budget over vLLM's fixed block pool: blocks beyond it are withheld.

vLLM allocates its KV tensor once. Lowering the budget takes free blocks out of circulation as they
come free (the policy rotates requests out to make them so); raising it gives them back at once. The
memory itself stays with the process.
"""

from typing import Any


class HbmBudget:
    """Counts in blocks. Invariant: circulating + withheld = ``max_blocks``."""

    def __init__(self, block_pool: Any, min_blocks: int, max_blocks: int) -> None:
        self._pool = block_pool
        self.min_blocks = min_blocks
        self.max_blocks = max_blocks
        self.desired_blocks = max_blocks
        self._withheld: list[Any] = []

    @property
    def allocated_blocks(self) -> int:
        """Blocks in circulation; moves toward ``desired_blocks``."""
        return self.max_blocks - len(self._withheld)

    @property
    def used_blocks(self) -> int:
        """Blocks that requests or copies hold."""
        return int(self.allocated_blocks - self._pool.get_num_free_blocks())

    @property
    def excess_blocks(self) -> int:
        """Blocks in circulation beyond what is desired."""
        return max(self.allocated_blocks - self.desired_blocks, 0)

    @property
    def free_blocks(self) -> int:
        """Free blocks within the budget; negative while more is used than is desired."""
        return int(self._pool.get_num_free_blocks()) - self.excess_blocks

    def resize(self, desired_blocks: int) -> None:
        """Set the budget, clamped to its bounds; `settle` makes it so."""
        self.desired_blocks = min(max(desired_blocks, self.min_blocks), self.max_blocks)

    def settle(self) -> None:
        """Withhold or give back as much as is possible now."""
        missing = len(self._withheld) - (self.max_blocks - self.desired_blocks)
        if missing > 0:
            back, self._withheld = self._withheld[:missing], self._withheld[missing:]
            self._pool.free_blocks(back)
        elif missing < 0:
            take = min(-missing, self._pool.get_num_free_blocks())
            if take:
                self._withheld += self._pool.get_new_blocks(take)

    def release_all(self) -> None:
        """Give every withheld block back until the next `settle`."""
        self._pool.free_blocks(self._withheld)
        self._withheld = []
