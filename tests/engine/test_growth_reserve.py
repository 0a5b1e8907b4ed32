"""Room for growth: whoever gets in brings its own, so that vLLM never preempts by recompute.

Requests that are nearly done cannot be rotated out, so what they and those just admitted ask for
next must be free beforehand; nobody may ask for more than it can ever use, or it would never get
in.
"""

import random
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from engine_drive import (
    BLOCK_BYTES,
    BLOCK_SIZE,
    SLOTS_PER_SLAB,
    EngineDrive,
    FakeClock,
    make_scheduler,
    make_vllm_config,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.requests import RequestTable, Tracked
from superinfer_runtime.tiny_model import ensure_tiny_model

MAX_MODEL_LEN = 64
NUM_REQUESTS = 12
OUTPUT_TOKENS = 24
HORIZON_STEPS = 12
NUM_BLOCKS = 30
"""About a third of what the requests need."""
DRAM_SLABS = NUM_REQUESTS * MAX_MODEL_LEN // BLOCK_SIZE // SLOTS_PER_SLAB
"""Room for all of them."""


@cache
def vllm_config(asynchronous: bool, caching: bool) -> Any:
    slab_bytes = SLOTS_PER_SLAB * BLOCK_BYTES
    config = make_vllm_config(
        str(ensure_tiny_model()),
        asynchronous=asynchronous,
        caching=caching,
        extra={
            "slo_classes": [{"name": "d", "ttft_s": 0.01, "tbt_s": 1.0, "default": True}],
            "kv_cache": {"dram": {"max": DRAM_SLABS * slab_bytes}, "slab_bytes": slab_bytes},
            "scheduler": {
                "run_quantum_s": 0.02,
                "tbt_credit": 0.0,
                "relegate": False,
                "growth_horizon_steps": HORIZON_STEPS,
            },
        },
        max_model_len=MAX_MODEL_LEN,
    )
    config.scheduler_config.max_num_seqs = NUM_REQUESTS
    return config


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_growth_costs_no_recompute_while_copies_are_prompt(
    asynchronous: bool, caching: bool
) -> None:
    rotations = 0
    for seed in range(8):
        clock = FakeClock()
        scheduler = make_scheduler(
            vllm_config(asynchronous, caching), num_blocks=NUM_BLOCKS, clock=clock
        )
        drive = EngineDrive(scheduler, clock, depth=2 if asynchronous else 1, seed=seed)
        drive.workers[0].prompt = True
        prompt_lengths = random.Random(seed)
        for number in range(NUM_REQUESTS):
            drive.add(f"r{number}", prompt_lengths.randrange(3, 12), OUTPUT_TOKENS)
        drive.run_until_idle()
        assert scheduler._recompute_preemptions == 0
        assert scheduler._stalls == 0
        assert set(drive.workers[0].resumed_tokens) == {1}
        rotations += scheduler._residency.into.rotations
        drive.assert_nothing_leaked()
    assert rotations > 100


def tracked(table: RequestTable, prompt: int, max_tokens: int, computed: int) -> Tracked:
    """A request that has computed so many tokens; the next one is sampled already."""
    request = SimpleNamespace(
        request_id="r",
        sampling_params=None,
        num_prompt_tokens=prompt,
        max_tokens=max_tokens,
        num_tokens=max(prompt, computed + 1),
        num_computed_tokens=computed,
        is_prefill_chunk=computed < prompt,
        resumable=False,
        pooling_params=None,
    )
    return table.add(request, 0.0)


def make_table(horizon_steps: int, block_size: int) -> RequestTable:
    knobs = SchedulerKnobs(growth_horizon_steps=horizon_steps)
    return RequestTable(EngineConfig(scheduler=knobs), block_size, MAX_MODEL_LEN)


@settings(max_examples=300)
@given(
    block_size=st.integers(1, 20),
    horizon_steps=st.integers(1, 80),
    prompt=st.integers(1, MAX_MODEL_LEN - 1),
    max_tokens=st.integers(1, 2 * MAX_MODEL_LEN),
    data=st.data(),
)
def test_nobody_asks_for_more_than_its_whole_length_nor_less_than_the_next_token(
    block_size: int, horizon_steps: int, prompt: int, max_tokens: int, data: st.DataObject
) -> None:
    length = min(prompt + max_tokens, MAX_MODEL_LEN)
    most = -(-length // block_size)
    table = make_table(horizon_steps, block_size)
    one = tracked(table, prompt, max_tokens, data.draw(st.integers(0, length - 2), "computed"))
    num_tokens = one.request.num_tokens

    def needs(tokens: int) -> range:
        return range(-(-tokens // block_size), most + 1)

    assert one.candidate.blocks in needs(num_tokens + 1)
    one.saved_tokens = data.draw(st.integers(1, length - 1), "saved")
    table.refresh_rotary(one)
    assert one.candidate.blocks in needs(one.saved_tokens + 1)
    growth = table.refresh_running(one, num_held=0, num_unmirrored=0)
    assert growth in needs(num_tokens + 1)


@settings(max_examples=300)
@given(
    block_size=st.integers(1, 20),
    horizon_steps=st.integers(1, 80),
    prompt=st.integers(1, MAX_MODEL_LEN - 1),
    max_tokens=st.integers(1, 2 * MAX_MODEL_LEN),
)
def test_whoever_cannot_be_rotated_out_asks_for_nothing_more(
    block_size: int, horizon_steps: int, prompt: int, max_tokens: int
) -> None:
    """Else its growth could be short with nobody left to make room."""
    length = min(prompt + max_tokens, MAX_MODEL_LEN)
    table = make_table(horizon_steps, block_size)
    held = tracked(table, prompt, max_tokens, 0).candidate.blocks
    for computed in range(prompt, length - 1):
        one = tracked(table, prompt, max_tokens, computed)
        growth = table.refresh_running(one, held, num_unmirrored=0)
        assert growth == 0 or one.candidate.rotatable
        held += growth
    assert held == -(-length // block_size), "all of it was asked for in time"
