"""Which blocks of which requests hold the same tokens: what a prefix cache may share.

A key names a place by what stands before it: a hash of the whole prefix, or the session whose text
it is. With it goes where the block ends, so equal keys mean equal tokens up to there at any block
size.
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HashedPrompt:
    """A prompt of which a trace tells hashes. What follows the hashed tokens is shared with none.

    Each hash stands for the prompt up to the end of its ``tokens_per_hash`` tokens, all of which
    belong to the prompt.
    """

    hashes: tuple[int, ...]
    tokens_per_hash: int

    def block_key(self, index: int, block_size: int) -> Hashable | None:
        if self.tokens_per_hash % block_size:
            return None  # a block across two hashes has none of its own
        end = (index + 1) * block_size
        position = (end - 1) // self.tokens_per_hash
        return (self.hashes[position], end) if position < len(self.hashes) else None


@dataclass(frozen=True, slots=True)
class SessionText:
    """The text of one session. It only grows, so each turn's tokens are a prefix of the next's."""

    session_id: str

    def block_key(self, index: int, block_size: int) -> Hashable | None:
        return self.session_id, (index + 1) * block_size
