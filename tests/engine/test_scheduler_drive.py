"""The real scheduler without a model: aborts, finishes, preemptions, resizes and failed copies.

At any moment, synchronous and with steps in flight. Whatever happens, every request ends with all
its tokens, KV is what it must be (`engine_drive` checks each read), and nothing is left behind.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from engine_drive import (
    BLOCK_BYTES,
    SLOTS_PER_SLAB,
    EngineDrive,
    FakeClock,
    make_scheduler,
    make_vllm_config,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.engine.control import ControlMailbox
from superinfer_runtime.tiny_model import ensure_tiny_model

NUM_BLOCKS = 25
MAX_MODEL_LEN = 64
MAX_SLABS = 5


def extra(**scheduler: Any) -> dict[str, Any]:
    """Objectives so tight that everything lags, and a small DRAM pool."""
    return {
        "slo_classes": [{"name": "d", "ttft_s": 0.05, "tbt_s": 0.05, "default": True}],
        "kv_cache": {
            "dram": {"max": MAX_SLABS * SLOTS_PER_SLAB * BLOCK_BYTES},
            "slab_bytes": SLOTS_PER_SLAB * BLOCK_BYTES,
        },
        "scheduler": {"run_quantum_s": 0.02, **scheduler},
    }


@cache
def vllm_config(asynchronous: bool, caching: bool) -> Any:
    return make_vllm_config(
        str(ensure_tiny_model()),
        asynchronous=asynchronous,
        caching=caching,
        extra=extra(),
        max_model_len=MAX_MODEL_LEN,
    )


def make_drive(asynchronous: bool, caching: bool, model_runner: int, seed: int) -> EngineDrive:
    clock = FakeClock()
    scheduler = make_scheduler(
        vllm_config(asynchronous, caching), num_blocks=NUM_BLOCKS, clock=clock
    )
    scheduler.use_v2_model_runner = model_runner == 2
    return EngineDrive(scheduler, clock, depth=2 if asynchronous else 1, seed=seed)


actions = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40), st.integers(1, 20), st.integers(0, 40)),
    st.tuples(st.just("abort"), st.integers(0, 100)),
    st.tuples(st.just("hbm"), st.integers(0, NUM_BLOCKS)),
    st.tuples(st.just("dram"), st.integers(0, MAX_SLABS)),
    st.tuples(st.just("fail")),
    st.tuples(st.just("reset")),
    st.tuples(st.just("steps"), st.integers(1, 12)),
)


def apply(drive: EngineDrive, action: tuple[Any, ...]) -> None:
    scheduler = drive.scheduler
    match action:
        case ("add", prompt_length, max_tokens, stops_at):
            drive.add(f"r{len(drive.prompts)}", prompt_length, max_tokens, stops_at)
        case ("abort", number):
            if drive.prompts:
                drive.abort(f"r{number % len(drive.prompts)}")
        case ("hbm", blocks):
            scheduler._hbm.resize(blocks)
        case ("dram", slabs):
            scheduler._residency.slots.resize(slabs)
        case ("fail",):
            drive.worker.fail_next_copy = True
        case ("reset",):
            loading = any(
                s.status.name == "WAITING_FOR_REMOTE_KVS" for s in scheduler.skipped_waiting
            )
            if not loading:  # vLLM refuses that itself
                scheduler.reset_prefix_cache(reset_running_requests=drive.depth == 1)
        case ("steps", count):
            for _ in range(count):
                drive.step()


@pytest.mark.parametrize("model_runner", [1, 2])
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_any_sequence_of_events_loses_and_leaks_nothing(
    asynchronous: bool, caching: bool, model_runner: int
) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(actions, max_size=60), st.integers(0, 10**6))
    def check(sequence: list[tuple[Any, ...]], seed: int) -> None:
        drive = make_drive(asynchronous, caching, model_runner, seed)
        for action in sequence:
            apply(drive, action)
            drive.step()
        drive.run_until_idle()
        for request_id, expected in drive.expected_tokens.items():
            if request_id not in drive.aborted:
                assert drive.produced[request_id] == expected
        drive.assert_nothing_leaked()

    check()


def crowd(drive: EngineDrive, count: int = 8) -> None:
    """More requests than HBM holds: 8 x 8 blocks wanted, 24 there."""
    for number in range(count):
        drive.add(f"r{number}", prompt_length=20, max_tokens=12)


def state_of(drive: EngineDrive, request_id: str) -> str:
    """Where a request is in the rotation cycle."""
    scheduler = drive.scheduler
    if request_id not in scheduler.requests:
        return "gone"
    if request_id in scheduler._parked:
        in_dram = scheduler._residency.ledger.is_in_dram(request_id)
        return "rotary" if in_dram else "rotating out"
    return str(scheduler.requests[request_id].status.name)


STATES = ["WAITING", "RUNNING", "rotating out", "rotary", "WAITING_FOR_REMOTE_KVS"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "end", [EngineDrive.abort, lambda drive, _: drive.shut_down()], ids=["abort", "shutdown"]
)
def test_ending_in_every_state_leaks_nothing(
    asynchronous: bool, state: str, end: Callable[[EngineDrive, str], None]
) -> None:
    drive = make_drive(asynchronous, caching=False, model_runner=1, seed=3)
    crowd(drive)
    for _ in range(400):
        found = next((r for r in drive.prompts if state_of(drive, r) == state), None)
        if found is not None:
            break
        drive.step()
    else:
        pytest.fail(f"no request was ever {state}")
    end(drive, found)
    drive.run_until_idle()
    drive.assert_nothing_leaked()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("model_runner", [1, 2])
def test_every_resume_computes_one_token(asynchronous: bool, model_runner: int) -> None:
    drive = make_drive(asynchronous, caching=False, model_runner=model_runner, seed=5)
    crowd(drive)
    drive.run_until_idle()
    assert drive.scheduler._residency.into.rotations > 0
    assert drive.scheduler._recompute_preemptions == 0
    assert set(drive.worker.resumed_tokens) == {1}


def test_a_request_that_finishes_while_it_rotates_out_ends_once() -> None:
    """vLLM 0.26.0 leaves it in skipped_waiting and raises `Invalid request status` later."""
    finished_while_out = 0
    for seed in range(20):
        drive = make_drive(True, caching=False, model_runner=1, seed=seed)
        for number in range(8):
            drive.add(f"r{number}", prompt_length=20, max_tokens=20, stops_at=number + seed % 5)
        drive.run_until_idle()
        finished_while_out += drive.num_finished_while_parked
        assert drive.produced == drive.expected_tokens
        drive.assert_nothing_leaked()
    assert finished_while_out > 0, "the case this test is about did not occur"


def test_uncontended_load_is_left_to_vllm() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    for number in range(3):
        drive.add(f"r{number}", prompt_length=8, max_tokens=8)
    drive.run_until_idle()
    assert drive.scheduler._residency.out.rotations == 0
    assert len(drive.finished) == 3


def test_budgets_change_while_idle() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    drive.run_until_idle()
    scheduler = drive.scheduler
    mailbox: ControlMailbox = scheduler._mailbox
    slab = SLOTS_PER_SLAB * BLOCK_BYTES
    answer = mailbox.handle({"op": "set", "dram_bytes": 2 * slab, "hbm_bytes": 20 * BLOCK_BYTES})
    assert answer["snapshot"]["dram"]["desired_bytes"] == 2 * slab
    assert scheduler.has_requests()  # the idle engine steps until the budget is in force
    drive.run_until_idle()
    snapshot = mailbox.handle({"op": "get"})["snapshot"]
    assert snapshot["dram"]["budget_bytes"] == 2 * slab
    assert snapshot["hbm"]["budget_bytes"] == 20 * BLOCK_BYTES


def test_budgets_out_of_bounds_are_refused_with_the_bounds() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    answer = drive.scheduler._mailbox.handle({"op": "set", "hbm_bytes": 1})
    assert "hbm_bytes must lie between" in answer["error"]
    assert not drive.scheduler._mailbox.pending
