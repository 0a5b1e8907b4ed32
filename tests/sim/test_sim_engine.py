"""Whole simulated runs on a small machine: what holds of every policy, workload and deployment."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from small_machine import (
    AMPLE_BLOCKS,
    BATCH,
    CHAT,
    MIN_BLOCKS,
    deployment,
    deployments,
    limits,
    policies,
    turns,
    workloads,
)
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.sim import simulation
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.live_request import LiveRequest
from superinfer_runtime.sim.policies import POLICIES, Policy
from superinfer_runtime.sim.replica import Replica
from superinfer_runtime.sim.request import SimRecord, SimRequest
from superinfer_runtime.sim.result import CopySpan, RunResult, StepSpan
from superinfer_runtime.sim.rotating_scheduler import RotatingScheduler
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.stock_scheduler import EngineLimits

pytestmark = pytest.mark.slow

CLASSES = (CHAT, BATCH)
Workload = tuple[SimRequest, ...]


def run(requests: Workload, served_by: Deployment, policy: Policy) -> RunResult:
    return simulate(requests, CLASSES, served_by, policy, timeline=True)


def records_by_id(result: RunResult) -> dict[str, SimRecord]:
    return {record.request_id: record for record in result.records}


@given(workloads(), deployments, policies)
def test_time_never_goes_back(requests: Workload, served_by: Deployment, policy: Policy) -> None:
    result = run(requests, served_by, policy)
    spans: list[list[StepSpan] | list[CopySpan]] = [
        list(result.steps),
        [copy for copy in result.copies if copy.out],
        [copy for copy in result.copies if not copy.out],
    ]
    for lane in spans:
        for span in lane:
            assert span.start_s < span.end_s
        for before, after in pairwise(lane):
            assert after.start_s >= before.end_s
    ends_s = [record.finish_s for record in result.records]
    assert ends_s == sorted(ends_s)
    assert result.makespan_s == ends_s[-1] - requests[0].arrival_s
    for record in result.records:
        assert record.arrival_s < record.first_token_s <= record.finish_s
    by_id = records_by_id(result)
    for turn in turns(requests):
        if turn.next_turn is not None:
            following = by_id[turn.next_turn.request.request_id]
            assert following.arrival_s == by_id[turn.request_id].finish_s + turn.next_turn.think_s


@given(workloads(), deployments, policies)
def test_every_request_gets_exactly_its_tokens(
    requests: Workload, served_by: Deployment, policy: Policy
) -> None:
    result = run(requests, served_by, policy)
    asked = {turn.request_id: turn for turn in turns(requests)}
    assert sorted(record.request_id for record in result.records) == sorted(asked)
    num_gaps: Counter[str] = Counter()
    for record in result.records:
        turn = asked[record.request_id]
        assert (record.prompt_tokens, record.output_tokens) == (
            turn.prompt_tokens,
            min(turn.output_tokens, served_by.limits.max_model_len - turn.prompt_tokens),
        )
        assert record.slo_class == turn.slo_class
        assert 0 <= record.cached_tokens < record.prompt_tokens
        gaps = record.output_tokens - 1
        num_gaps[record.slo_class] += gaps
        assert 0 <= record.late_gaps <= gaps
        assert (record.tbt_s or 0.0) <= record.max_gap_s * (1 + 1e-9)
    for name, counts in result.gap_counts.items():
        assert sum(counts.values()) == num_gaps[name]
    uncached = sum(record.prompt_tokens - record.cached_tokens for record in result.records)
    assert result.computed_prompt_tokens >= uncached
    if not result.recomputes and served_by.replicas == 1:
        assert result.computed_prompt_tokens == uncached
        assert sum(step.num_prefill_tokens for step in result.steps) == uncached


@given(workloads(), deployments, policies)
def test_counters_agree_with_the_records(
    requests: Workload, served_by: Deployment, policy: Policy
) -> None:
    result = run(requests, served_by, policy)
    assert result.rotations == sum(record.rotations for record in result.records)
    assert result.recomputes == sum(record.recomputes for record in result.records)
    assert 0 < result.peak_hbm_blocks <= result.hbm_blocks == served_by.hbm_blocks
    assert result.peak_dram_blocks <= result.dram_blocks
    assert max(step.used_hbm_blocks for step in result.steps) <= result.peak_hbm_blocks
    if policy.make is None:
        moved = result.rotations + result.bytes_out + result.bytes_in
        assert moved == result.dram_blocks == 0
    for num_bytes in (result.bytes_out, result.bytes_in):
        assert num_bytes % served_by.block_bytes == 0
    if served_by.replicas == 1:
        assert result.num_steps == len(result.steps)
        assert result.bytes_in == sum(copy.num_bytes for copy in result.copies if not copy.out)


class CheckedReplica(Replica):
    """Looks after every event whether memory is accounted for."""

    all: list["CheckedReplica"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.all.append(self)
        self.now_s = 0.0

    def advance(self, now_s: float) -> list[LiveRequest]:
        assert now_s >= self.now_s
        self.now_s = now_s
        done = super().advance(now_s)
        scheduler = self.scheduler
        assert scheduler.pool.get_num_free_blocks() >= 0
        holders = [*scheduler.running, *scheduler.loading]
        needed = {block for live in holders for block in live.blocks}
        assert not any(map(scheduler.pool.is_free, needed))
        for live in scheduler.running:
            assert len(live.blocks) * scheduler.limits.block_size >= live.num_computed_tokens
        assert len(scheduler.running) <= scheduler.limits.max_num_seqs
        if isinstance(scheduler, RotatingScheduler):
            scheduler.residency.ledger.check()
        return done

    def settle(self) -> None:
        """Let all copies under way end."""
        while self.copies is not None and (next_s := self.copies.next_event_s()) is not None:
            self.advance(next_s)


@contextmanager
def checked_replicas() -> Iterator[list[CheckedReplica]]:
    replicas: list[CheckedReplica] = []
    kind = type("Checked", (CheckedReplica,), {"all": replicas})
    with patch.object(simulation, "Replica", kind):
        yield replicas


@given(workloads(), deployments, policies)
def test_memory_is_accounted_for_at_every_event_and_all_free_at_the_end(
    requests: Workload, served_by: Deployment, policy: Policy
) -> None:
    with checked_replicas() as replicas:
        run(requests, served_by, policy)
    assert len(replicas) == served_by.replicas
    for replica in replicas:
        replica.settle()
        scheduler = replica.scheduler
        assert not scheduler.has_requests
        assert scheduler.used_blocks == scheduler.deferred_blocks == 0
        if isinstance(scheduler, RotatingScheduler):
            residency = scheduler.residency
            assert residency.slots.num_used == 0
            assert residency.ledger.num_jobs == residency.ledger.num_requests == 0
            assert not residency.busy


@settings(max_examples=30)
@given(workloads(), deployments, policies)
def test_the_same_inputs_give_the_same_run(
    requests: Workload, served_by: Deployment, policy: Policy
) -> None:
    assert run(requests, served_by, policy) == run(requests, served_by, policy)


SUMMARISE_ALL = """
import json
from random import Random
from small_machine import BATCH, CHAT, FamilyText, deployment
from superinfer_runtime.sim.policies import POLICIES
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.simulation import simulate

rng = Random(0)
requests = [
    SimRequest(
        f"r{n}",
        n * 0.004,
        rng.randint(1, 40),
        rng.randint(1, 24),
        rng.choice(["chat", "batch"]),
        content=FamilyText(rng.randint(0, 5)),
    )
    for n in range(60)
]
for policy in POLICIES.values():
    result = simulate(requests, (CHAT, BATCH), deployment(40, 60), policy)
    print(json.dumps(summarize(result).to_dict()))
"""


def test_other_hash_seeds_give_the_same_bytes() -> None:
    testbed = Path(__file__).parents[1] / "testbed"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SUMMARISE_ALL],
            env={**os.environ, "PYTHONPATH": str(testbed), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    summaries = [json.loads(line) for line in outputs[0].splitlines()]
    assert [summary["policy"] for summary in summaries] == list(POLICIES)
    assert sum(summary["total"]["rotations"] > 0 for summary in summaries) > 3


@settings(max_examples=50)
@given(workloads(), deployments, policies)
def test_another_replica_loses_no_request(
    requests: Workload, served_by: Deployment, policy: Policy
) -> None:
    wider = replace(served_by, replicas=served_by.replicas + 1)
    before, after = (records_by_id(run(requests, one, policy)) for one in (served_by, wider))
    assert before.keys() == after.keys()
    for request_id, record in before.items():
        assert after[request_id].output_tokens == record.output_tokens


SERVES_BY_ARRIVAL = ["fcfs-swap", "released", "lvf", "rotasched"]
"""While there is room for everybody of one class; the others put the best first even then."""


@pytest.mark.parametrize("name", SERVES_BY_ARRIVAL)
@settings(max_examples=30)
@given(workloads(class_names=["chat"]), limits)
def test_with_room_for_everybody_it_is_stock(
    name: str, requests: Workload, engine_limits: EngineLimits
) -> None:
    roomy = deployment(
        limits=replace(engine_limits, max_num_seqs=1024),
        knobs=SchedulerKnobs(guard_tbt=False, relegate=False),
    )
    stock, other = (
        simulate(requests, (CHAT,), roomy, POLICIES[each], timeline=True)
        for each in ("stock", name)
    )
    assert other.records == stock.records
    assert [(step.start_s, step.end_s) for step in other.steps] == [
        (step.start_s, step.end_s) for step in stock.steps
    ]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_small_machine_is_small(policy: Policy) -> None:
    """The runs above reach what they are to test: full memory, rotation, recomputation."""
    burst = tuple(SimRequest(f"r{n}", n * 0.01, 20, 24, "chat") for n in range(12))
    result = run(burst, deployment(MIN_BLOCKS + 4, AMPLE_BLOCKS), policy)
    assert result.peak_hbm_blocks > 0.8 * result.hbm_blocks
    if policy.make is None:
        assert result.recomputes > 0
    else:
        assert result.rotations > 0
        assert result.bytes_out > 0
        assert result.bytes_in > 0
