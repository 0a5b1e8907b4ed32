"""The real scheduler without a model: aborts, preemptions, resizes, failed and stuck copies.

At any moment, synchronous and with steps in flight, with one rank and with two. Whatever happens,
every request ends with all its tokens, KV is what it must be (`engine_drive` checks each read), and
nothing is left behind.
"""

from collections.abc import Callable
from functools import cache
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
from superinfer_runtime.duplexkv.copy_engine import EngineReport, LinkCalibration
from superinfer_runtime.duplexkv.jobs import JobKind
from superinfer_runtime.engine.control import ControlMailbox
from superinfer_runtime.engine.messages import WorkerReport
from superinfer_runtime.telemetry.snapshot import LinkSnapshot
from superinfer_runtime.tiny_model import ensure_tiny_model

NUM_BLOCKS = 25
MAX_MODEL_LEN = 64
MAX_SLABS = 5
LONGEST_BLOCKS = MAX_MODEL_LEN // BLOCK_SIZE + 1
OTHER = {"name": "other", "ttft_s": 0.1, "tbt_s": 0.1, "default": False}


def extra(world_size: int, policy: str) -> dict[str, Any]:
    """Objectives so tight that everything lags, and a small DRAM pool."""
    slab_bytes = SLOTS_PER_SLAB * BLOCK_BYTES * world_size
    return {
        "slo_classes": [{"name": "d", "ttft_s": 0.05, "tbt_s": 0.05, "default": True}, OTHER],
        "kv_cache": {
            "dram": {"max": MAX_SLABS * slab_bytes},
            "slab_bytes": slab_bytes,
        },
        "scheduler": {"run_quantum_s": 0.02},
        "policy": policy,
    }


@cache
def vllm_config(
    asynchronous: bool, caching: bool, world_size: int, policy: str = "rotasched"
) -> Any:
    return make_vllm_config(
        str(ensure_tiny_model()),
        asynchronous=asynchronous,
        caching=caching,
        extra=extra(world_size, policy),
        max_model_len=MAX_MODEL_LEN,
        world_size=world_size,
    )


def make_drive(
    asynchronous: bool,
    caching: bool = False,
    model_runner: int = 1,
    seed: int = 1,
    world_size: int = 1,
    num_blocks: int = NUM_BLOCKS,
    policy: str = "rotasched",
) -> EngineDrive:
    clock = FakeClock()
    config = vllm_config(asynchronous, caching, world_size, policy)
    scheduler = make_scheduler(config, num_blocks=num_blocks, clock=clock)
    scheduler.use_v2_model_runner = model_runner == 2
    return EngineDrive(scheduler, clock, depth=2 if asynchronous else 1, seed=seed)


actions = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 40), st.integers(1, 20), st.integers(0, 40)),
    st.tuples(st.just("abort"), st.integers(0, 100)),
    st.tuples(st.just("hbm"), st.integers(0, NUM_BLOCKS)),
    st.tuples(st.just("dram"), st.integers(0, MAX_SLABS)),
    st.tuples(st.just("share"), st.sampled_from([0.05, 0.3, 1.0])),
    st.tuples(st.just("fail"), st.integers(0, 1)),
    st.tuples(st.just("stick"), st.integers(0, 1)),
    st.tuples(st.just("unstick")),
    st.tuples(st.just("refuse"), st.integers(0, 1)),
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
        case ("share", share):
            scheduler._mailbox.handle({"op": "set", "class_shares": {"d": share}})
        case ("fail", rank):
            drive.workers[rank % len(drive.workers)].fail_next_copy = True
        case ("stick", rank):
            drive.workers[rank % len(drive.workers)].stick_next = lambda _: True
        case ("unstick",):
            for worker in drive.workers:
                worker.unstick()
        case ("refuse", rank):
            drive.workers[rank % len(drive.workers)].refuse_next_slab = True
        case ("reset",):
            loading = any(
                s.status.name == "WAITING_FOR_REMOTE_KVS" for s in scheduler.skipped_waiting
            )
            if not loading:  # vLLM refuses that itself
                scheduler.reset_prefix_cache(reset_running_requests=drive.depth == 1)
        case ("steps", count):
            for _ in range(count):
                drive.step()


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("model_runner", [1, 2])
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_any_sequence_of_events_loses_and_leaks_nothing(
    asynchronous: bool, caching: bool, model_runner: int, world_size: int
) -> None:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(actions, max_size=60), st.integers(0, 10**6))
    def check(sequence: list[tuple[Any, ...]], seed: int) -> None:
        drive = make_drive(asynchronous, caching, model_runner, seed, world_size)
        for action in sequence:
            apply(drive, action)
            drive.step()
        end(drive)
        for request_id, expected in drive.expected_tokens.items():
            if request_id not in drive.aborted:
                assert drive.produced[request_id] == expected
        drive.assert_nothing_leaked()

    check()


def end(drive: EngineDrive) -> None:
    """Requests end without the stuck copies, unless those hold too much of HBM for them."""
    if drive.becomes_idle(3000):
        drive.assert_nothing_leaked()
    else:
        pinned = {copy.block for job in drive.stuck_jobs().values() for copy in job.copies}
        assert drive.scheduler._hbm.allocated_blocks - len(pinned) < LONGEST_BLOCKS
    drive.unstick()
    drive.run_until_idle()
    assert not drive.scheduler._residency.is_stuck
    assert drive.scheduler._residency.slots.settled


def crowd(drive: EngineDrive, prefix: str = "r") -> None:
    """More requests than HBM holds: 8 x 8 blocks wanted, 24 there."""
    for number in range(8):
        drive.add(f"{prefix}{number}", prompt_length=20, max_tokens=12)


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


def stick_next(drive: EngineDrive, kind: JobKind) -> None:
    """Make the next copy of ``kind`` stuck, on the last rank."""
    kinds = drive.scheduler._residency._kinds
    drive.workers[-1].stick_next = lambda job: kinds[job.job_id][0] is kind


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("ends_well", [False, True])
@pytest.mark.parametrize("kind", list(JobKind))
def test_serving_goes_on_without_rotation_while_a_copy_is_stuck(
    kind: JobKind, ends_well: bool, world_size: int, asynchronous: bool
) -> None:
    # What stuck copies hold must leave room for any one request.
    drive = make_drive(asynchronous, world_size=world_size, num_blocks=41)
    scheduler, residency = drive.scheduler, drive.scheduler._residency
    crowd(drive)
    stick_next(drive, kind)
    drive.run_until_idle()
    assert residency.is_stuck
    assert not scheduler.has_requests(), "an idle engine does not step for a stuck copy"
    assert scheduler._recompute_preemptions > 0
    failures = residency.copy_failures
    assert failures == len(drive.stuck_jobs())
    rotations = residency.out.rotations
    crowd(drive, "s")
    drive.run_until_idle()
    assert residency.out.rotations == rotations
    assert scheduler._stalls == 0, "more DRAM would not help"
    drive.assert_nothing_leaked()

    drive.workers[-1].fail_next_copy = not ends_well
    drive.unstick()
    assert not residency.is_stuck
    assert residency.copy_failures == failures, "stuck and failed is one failure"
    drive.assert_nothing_leaked()
    crowd(drive, "t")
    drive.run_until_idle()
    assert residency.out.rotations > rotations
    assert drive.produced == drive.expected_tokens
    drive.assert_nothing_leaked()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("steps_before", [0, 20])
@pytest.mark.parametrize("kind", list(JobKind))
def test_aborting_around_a_stuck_copy_leaves_only_what_it_holds(
    kind: JobKind, steps_before: int, asynchronous: bool
) -> None:
    drive = make_drive(asynchronous)
    crowd(drive)
    stick_next(drive, kind)
    while drive.workers[0].stick_next is not None:
        drive.step()
    for _ in range(steps_before):
        drive.step()
    drive.shut_down()
    drive.run_until_idle()
    assert drive.stuck_jobs()
    drive.assert_nothing_leaked()
    drive.unstick()
    assert not drive.stuck_jobs()
    drive.assert_nothing_leaked()


def test_a_failed_copy_is_counted() -> None:
    drive = make_drive(False)
    drive.workers[0].fail_next_copy = True
    crowd(drive)
    drive.run_until_idle()
    assert not drive.workers[0].fail_next_copy
    assert drive.scheduler._snapshot().copy_failures == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_slab_that_one_rank_refuses_is_kept_by_none(rank: int) -> None:
    drive = make_drive(False, world_size=2)
    slots = drive.scheduler._residency.slots
    wanted = slots.target_slabs
    drive.workers[rank].refuse_next_slab = True
    crowd(drive)
    drive.run_until_idle()
    assert slots.settled
    assert slots.target_slabs == wanted - 1
    assert drive.workers[0].slabs == drive.workers[1].slabs
    assert len(drive.workers[0].slabs) == wanted - 1
    assert drive.scheduler._residency.out.rotations > 0
    drive.assert_nothing_leaked()


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("model_runner", [1, 2])
def test_every_resume_computes_one_token(asynchronous: bool, model_runner: int) -> None:
    drive = make_drive(asynchronous, caching=False, model_runner=model_runner, seed=5)
    crowd(drive)
    drive.run_until_idle()
    assert drive.scheduler._residency.into.rotations > 0
    assert drive.scheduler._recompute_preemptions == 0
    assert set(drive.workers[0].resumed_tokens) == {1}


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


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_released_policy_rotates_by_age_and_loses_nothing(asynchronous: bool) -> None:
    drive = make_drive(asynchronous, policy="released")
    crowd(drive)
    drive.run_until_idle()
    assert drive.produced == drive.expected_tokens
    assert drive.scheduler._residency.out.rotations > 0
    drive.assert_nothing_leaked()


def test_only_rotasched_takes_prefill_from_a_step() -> None:
    for policy, adapts in (("rotasched", True), ("released", False)):
        scheduler = make_drive(False, policy=policy).scheduler
        assert (scheduler._step_clock._guard is not None) is adapts


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


def test_class_shares_change_while_idle_and_unknown_classes_are_refused() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    mailbox: ControlMailbox = drive.scheduler._mailbox
    assert "no class 'x'" in mailbox.handle({"op": "set", "class_shares": {"x": 0.5}})["error"]
    assert "between" in mailbox.handle({"op": "set", "class_shares": {"d": 0.0}})["error"]
    mailbox.handle({"op": "set", "class_shares": {"d": 0.5}})
    drive.run_until_idle()
    assert mailbox.handle({"op": "get"})["snapshot"]["class_shares"] == {"d": 0.5, "other": 1.0}


def test_a_cut_class_holds_no_more_than_its_share() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    scheduler = drive.scheduler
    scheduler._mailbox.handle({"op": "set", "class_shares": {"d": 0.4}})
    for number in range(6):
        drive.add(f"r{number}", prompt_length=8, max_tokens=4)
    most = 0
    while scheduler.has_requests():
        drive.step()
        most = max(most, len(scheduler.running))
    # A request takes at most 3 of the 25 blocks; without the cut all six run at once.
    assert 1 <= most <= 4
    assert len(drive.finished) == 6


def test_budgets_out_of_bounds_are_refused_with_the_bounds() -> None:
    drive = make_drive(False, caching=False, model_runner=1, seed=1)
    answer = drive.scheduler._mailbox.handle({"op": "set", "hbm_bytes": 1})
    assert "hbm_bytes must lie between" in answer["error"]
    assert not drive.scheduler._mailbox.pending


def test_the_link_is_known_once_every_rank_has_measured_it() -> None:
    scheduler = make_drive(False, world_size=2).scheduler
    measured = WorkerReport.of(EngineReport(calibration=LinkCalibration(3e9, 2e9, 4e9, 512)))
    scheduler._residency.apply(measured)
    assert scheduler._snapshot().link is None
    assert scheduler._snapshot().into.bandwidth_bytes_per_s is None
    scheduler._residency.apply(measured)
    snapshot = scheduler._snapshot()
    assert snapshot.link == LinkSnapshot(6e9, 4e9, 8e9, 512)
    assert snapshot.into.bandwidth_bytes_per_s == 4e9
