from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.bench.trace_file import read_trace
from superinfer_runtime.sim.workload.content import HashedPrompt, SessionText

TOKENS_PER_HASH = 8

texts = st.lists(st.sampled_from("ab"), max_size=6)
"""Prompts of pieces of `TOKENS_PER_HASH` tokens; two letters, so that prefixes often agree."""


def hashed(pieces: list[str], known: dict[tuple[str, ...], int]) -> HashedPrompt:
    """What a trace tells of a prompt: for each piece a number that stands for all up to it."""
    prefixes = (tuple(pieces[: end + 1]) for end in range(len(pieces)))
    hashes = tuple(known.setdefault(prefix, len(known)) for prefix in prefixes)
    return HashedPrompt(hashes, TOKENS_PER_HASH)


@given(texts, texts, st.sampled_from([1, 2, 4, 8]))
def test_equal_keys_are_equal_prefixes(one: list[str], other: list[str], block_size: int) -> None:
    known: dict[tuple[str, ...], int] = {}
    first, second = hashed(one, known), hashed(other, known)
    blocks = len(one) * TOKENS_PER_HASH // block_size
    for index in range(len(other) * TOKENS_PER_HASH // block_size):
        pieces = -(-(index + 1) * block_size // TOKENS_PER_HASH)
        key = second.block_key(index, block_size)
        assert key is not None
        assert (key == first.block_key(index, block_size)) == (
            index < blocks and one[:pieces] == other[:pieces]
        )
    keys = [first.block_key(index, block_size) for index in range(blocks)]
    assert len(set(keys)) == blocks


@given(texts, st.integers(1, 20), st.integers(0, 60))
def test_only_blocks_of_hashed_tokens_have_keys(
    pieces: list[str], block_size: int, index: int
) -> None:
    within = (index + 1) * block_size <= len(pieces) * TOKENS_PER_HASH
    key = hashed(pieces, {}).block_key(index, block_size)
    assert (key is not None) == (within and TOKENS_PER_HASH % block_size == 0)


@given(st.text(), st.text(), st.integers(0, 99), st.integers(0, 99), st.integers(1, 64))
def test_a_session_shares_with_itself_alone(
    one: str, other: str, first: int, second: int, block_size: int
) -> None:
    key = SessionText(one).block_key(first, block_size)
    same = (one, first) == (other, second)
    assert (key == SessionText(other).block_key(second, block_size)) == same


def test_a_mooncake_hash_stands_for_one_prefix(traces_dir: Path) -> None:
    former: dict[int, int | None] = {}
    for request in read_trace(traces_dir / "mooncake-fast25/synthetic_trace.jsonl").requests(0):
        assert request.prefix_hashes is not None
        for before, after in pairwise((None, *request.prefix_hashes)):
            assert after is not None
            assert former.setdefault(after, before) == before
