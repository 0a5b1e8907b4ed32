"""Whether answers given under load are those of the engine at rest, token by token.

Some finished requests of a run are asked again once the engine is idle. Their prompts get a cache
salt, so that no KV of the run is found again. Greedy tokens depend on the batch that they are
computed in, unless vLLM is told to be batch-invariant (``VLLM_BATCH_INVARIANT=1``, slower): without
that, compare with what stock vLLM reaches in the same contest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checked:
    """How many answers were compared, and how many were the same to the last token."""

    asked_again: int
    same: int


def chosen(indices: Sequence[int], count: int) -> list[int]:
    """Return at most ``count`` of ``indices``, evenly spread from the first to the last."""
    count = min(count, len(indices))
    return [indices[number * len(indices) // count] for number in range(count)]


def compared(under_load: Mapping[int, list[int]], at_rest: Mapping[int, list[int]]) -> Checked:
    """Compare the tokens of the requests that were asked again."""
    same = sum(under_load[index] == tokens for index, tokens in at_rest.items())
    return Checked(len(at_rest), same)
