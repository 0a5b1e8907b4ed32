"""Drives the real RotaScheduler without a model, with steps in flight and a memory that tells lies.

`FakeWorker` keeps what each token slot of each HBM block and DRAM slot holds. A copy takes effect
at an arbitrary moment between its submission and its acknowledgement; until then its target holds
garbage. Before a request computes a token the worker checks that every earlier token's KV is in
the request's blocks: so a block freed too early, a copy into a block in use, or a load used before
it is acknowledged shows as an error, not as luck.

There is one worker a rank, each with a memory and moods of its own: it may fail a copy, keep one
*stuck* with all behind it (reported once, ended when told to, its bytes landing at any moment), or
refuse a slab.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from superinfer_runtime.duplexkv.copy_engine import CopyJob, CopyResult, EngineReport
from superinfer_runtime.engine.messages import RotationMetadata, WorkerReport
from superinfer_runtime.engine.scheduler import RotaScheduler
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
)
from vllm.v1.outputs import KVConnectorOutput, ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus
from vllm.v1.structured_output import StructuredOutputManager

BLOCK_SIZE = 4
BLOCK_BYTES = 1024
SLOTS_PER_SLAB = 8
GARBAGE = "garbage"


class FakeClock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def make_vllm_config(
    model: str,
    *,
    asynchronous: bool,
    caching: bool,
    extra: dict[str, Any],
    max_model_len: int,
    world_size: int = 1,
) -> VllmConfig:
    """A VllmConfig as `superinfer serve` would make it, for the CPU platform."""
    config = EngineArgs(
        model=model,
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=max_model_len,
        max_num_seqs=6,
        max_num_batched_tokens=64,
        block_size=32,
        enable_prefix_caching=caching,
        kv_cache_memory_bytes=1 << 20,
        scheduler_cls="superinfer_runtime.engine.scheduler.RotaScheduler",
        kv_transfer_config={
            "kv_connector": "RotaConnector",
            "kv_connector_module_path": "superinfer_runtime.engine.connector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"superinfer": extra},
        },
    ).create_engine_config()
    config.scheduler_config.async_scheduling = asynchronous
    config.cache_config.block_size = BLOCK_SIZE
    config.parallel_config.world_size = world_size
    return config


def make_scheduler(vllm_config: VllmConfig, *, num_blocks: int, clock: FakeClock) -> RotaScheduler:
    """A RotaScheduler over ``num_blocks`` blocks (one of them vLLM's null block)."""
    spec = FullAttentionSpec(
        block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32
    )
    vllm_config.cache_config.num_gpu_blocks = num_blocks
    scheduler_type = type("ClockedScheduler", (RotaScheduler,), {"clock": staticmethod(clock)})
    scheduler: RotaScheduler = scheduler_type(
        vllm_config=vllm_config,
        kv_cache_config=KVCacheConfig(
            num_blocks=num_blocks,
            kv_cache_tensors=[KVCacheTensor(size=num_blocks * BLOCK_BYTES, shared_by=["layer"])],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(vllm_config),
        block_size=BLOCK_SIZE,
        log_stats=True,
    )
    return scheduler


def token_at(request_id: str, position: int) -> int:
    """The token that the fake model puts at ``position`` (prompts are made of the same)."""
    return 10 + random.Random(f"{request_id}:{position}").randrange(400)


@dataclass
class _Copying:
    job: CopyJob
    stuck: bool = False
    told_stuck: bool = False


class FakeWorker:
    """Executes scheduler outputs in order, as a model runner does."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.hbm: dict[tuple[int, int], Any] = {}
        self.dram: dict[tuple[int, int], Any] = {}
        self.blocks: dict[str, list[int]] = {}
        self.tokens: dict[str, list[int]] = {}
        self.resumed_tokens: list[int] = []
        self.prompt = False
        """Every copy ends with the step that it was submitted in."""
        self.fail_next_copy = False
        self.stick_next: Callable[[CopyJob], bool] | None = None
        self.refuse_next_slab = False
        self.slabs: set[int] = set()
        self._copying: list[_Copying] = []
        self._slabs_ready: list[int] = []
        self._slabs_gone: list[int] = []

    @property
    def stuck_jobs(self) -> list[CopyJob]:
        """Jobs that were reported as stuck and have not ended."""
        return [copying.job for copying in self._copying if copying.told_stuck]

    def unstick(self) -> None:
        """Let stuck copies end as others do, and the next ones too."""
        self.stick_next = None
        for copying in self._copying:
            copying.stuck = False

    def execute(self, output: SchedulerOutput, prompts: dict[str, list[int]]) -> ModelRunnerOutput:
        """Run one step; its copies are ordered after all earlier steps."""
        metadata = output.kv_connector_metadata
        assert isinstance(metadata, RotationMetadata)
        self._start(metadata)
        for request_id in output.finished_req_ids:
            self.blocks.pop(request_id, None)
        for new in output.scheduled_new_reqs:
            self.blocks[new.req_id] = list(new.block_ids[0])
            # What the scheduler knows counts: it may have discarded a token in flight.
            self.tokens[new.req_id] = list(new.prefill_token_ids or prompts[new.req_id])
            if new.num_computed_tokens >= len(prompts[new.req_id]):
                self.resumed_tokens.append(output.num_scheduled_tokens[new.req_id])
        cached = output.scheduled_cached_reqs
        for number, request_id in enumerate(cached.req_ids):
            more = cached.new_block_ids[number]
            if request_id in cached.resumed_req_ids:
                assert more is not None
                self.blocks[request_id] = list(more[0])
                self.tokens[request_id] = list(cached.all_token_ids[request_id])
                if cached.num_computed_tokens[number] >= len(prompts[request_id]):
                    self.resumed_tokens.append(output.num_scheduled_tokens[request_id])
            elif more is not None:
                self.blocks[request_id] += more[0]
        starts = {r.req_id: r.num_computed_tokens for r in output.scheduled_new_reqs}
        starts |= dict(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        sampled: list[list[int]] = []
        for request_id, count in output.num_scheduled_tokens.items():
            sampled.append(self._compute(request_id, starts[request_id], count))
        return ModelRunnerOutput(
            req_ids=list(output.num_scheduled_tokens),
            req_id_to_index={r: n for n, r in enumerate(output.num_scheduled_tokens)},
            sampled_token_ids=sampled,
            kv_connector_output=KVConnectorOutput(kv_connector_worker_meta=self._report()),
        )

    def _compute(self, request_id: str, start: int, count: int) -> list[int]:
        tokens = self.tokens[request_id]
        blocks = self.blocks[request_id]
        for position in range(start):
            held = self.hbm.get((blocks[position // BLOCK_SIZE], position % BLOCK_SIZE))
            expected = tuple(tokens[: position + 1])
            assert held == expected, f"{request_id}: KV of token {position} is {held}"
        for position in range(start, start + count):
            block = blocks[position // BLOCK_SIZE]
            self.hbm[(block, position % BLOCK_SIZE)] = tuple(tokens[: position + 1])
        if start + count < len(tokens):
            return []  # a chunk of the prompt
        tokens.append(token_at(request_id, len(tokens)))
        return [tokens[-1]]

    def _start(self, metadata: RotationMetadata) -> None:
        for slab in metadata.add_slabs:
            if self.refuse_next_slab:
                self.refuse_next_slab = False
                self._slabs_gone.append(slab)
            else:
                self.slabs.add(slab)
                self._slabs_ready.append(slab)
        for slab in metadata.drop_slabs:
            self.slabs.discard(slab)
            self._slabs_gone.append(slab)
        for job in metadata.jobs:
            stuck = self.stick_next is not None and self.stick_next(job)
            if stuck:
                self.stick_next = None
            self._copying.append(_Copying(job, stuck))
            for copy in job.copies:
                for offset in range(BLOCK_SIZE):
                    if job.out:
                        self.dram[(copy.slot, offset)] = GARBAGE
                    else:
                        self.hbm[(copy.block, offset)] = GARBAGE

    def _report(self) -> WorkerReport | None:
        """Let some copies take effect and acknowledge some, in the order of their direction."""
        results: list[CopyResult] = []
        stuck: list[int] = []
        for out in (True, False):
            held_up = False
            for copying in [c for c in self._copying if c.job.out is out]:
                if not self.prompt and self._rng.random() < 0.4:
                    break
                held_up = copying.stuck = held_up or copying.stuck
                if held_up:
                    if not copying.told_stuck:
                        stuck.append(copying.job.job_id)
                        copying.told_stuck = True
                    elif self._rng.random() < 0.3:
                        self._apply(copying.job)  # it moved after all; the word of it is missing
                    continue
                error = "made to fail" if self.fail_next_copy else None
                self.fail_next_copy = False
                if error is None:
                    self._apply(copying.job)
                self._copying.remove(copying)
                results.append(CopyResult(copying.job.job_id, out, BLOCK_BYTES, 1e-6, error))
        report = EngineReport(
            tuple(results), tuple(self._slabs_ready), tuple(self._slabs_gone), stuck=tuple(stuck)
        )
        self._slabs_ready, self._slabs_gone = [], []
        return None if report.is_empty else WorkerReport.of(report)

    def _apply(self, job: CopyJob) -> None:
        for copy in job.copies:
            for offset in range(BLOCK_SIZE):
                if job.out:
                    self.dram[(copy.slot, offset)] = self.hbm.get((copy.block, offset))
                else:
                    self.hbm[(copy.block, offset)] = self.dram.get((copy.slot, offset))


class EngineDrive:
    """vLLM's engine loop in miniature: up to ``depth`` steps in flight."""

    def __init__(
        self, scheduler: RotaScheduler, clock: FakeClock, *, depth: int, seed: int
    ) -> None:
        self.scheduler = scheduler
        self.clock = clock
        world_size = scheduler._geometry.world_size
        self.workers = [FakeWorker(random.Random(seed + rank)) for rank in range(world_size)]
        self.prompts: dict[str, list[int]] = {}
        self.expected_tokens: dict[str, int] = {}
        self.produced: dict[str, int] = {}
        self.finished: set[str] = set()
        self.aborted: set[str] = set()
        self.num_finished_while_parked = 0
        self.depth = depth
        self._in_flight: deque[tuple[SchedulerOutput, ModelRunnerOutput]] = deque()
        self.num_blocks = scheduler.kv_cache_manager.block_pool.get_num_free_blocks()
        init_none_hash(sha256)

    def add(
        self, request_id: str, prompt_length: int, max_tokens: int, stops_at: int | None = None
    ) -> None:
        """Add a request; ``stops_at``: its output token that also is a stop token."""
        stop_token = token_at(request_id, prompt_length + stops_at) if stops_at is not None else -1
        outputs = [token_at(request_id, prompt_length + n) for n in range(max_tokens)]
        expected = outputs.index(stop_token) + 1 if stop_token in outputs else max_tokens
        prompt = [token_at(request_id, n) for n in range(prompt_length)]
        self.prompts[request_id] = prompt
        self.expected_tokens[request_id] = expected
        self.produced[request_id] = 0
        self.scheduler.add_request(
            Request(
                request_id=request_id,
                prompt_token_ids=prompt,
                sampling_params=SamplingParams(
                    max_tokens=max_tokens, ignore_eos=True, stop_token_ids=[stop_token]
                ),
                pooling_params=None,
                arrival_time=time.time(),
                block_hasher=get_request_block_hasher(BLOCK_SIZE, sha256),
            )
        )

    def abort(self, request_id: str) -> None:
        if request_id not in self.finished:
            self.scheduler.finish_requests(request_id, RequestStatus.FINISHED_ABORTED)
            self.aborted.add(request_id)

    def step(self) -> None:
        """Launch a step if the pipeline has room, else process the oldest one."""
        if len(self._in_flight) < self.depth and self.scheduler.has_requests():
            _, growth_blocks = self.scheduler._refreshed_running(False)
            assert growth_blocks <= self.scheduler._most_growth_blocks()
            output = self.scheduler.schedule()
            self._check_copies_of(output)
            self._in_flight.append((output, self._execute(output)))
            self.clock.now_s += 0.01
        if len(self._in_flight) >= self.depth or not self.scheduler.has_requests():
            self.process_one()
        self.scheduler._residency.ledger.check()

    def _execute(self, output: SchedulerOutput) -> ModelRunnerOutput:
        """Run a step on all ranks and join their reports, as vLLM's executor does."""
        results = [worker.execute(output, self.prompts) for worker in self.workers]
        assert len({str(result.sampled_token_ids) for result in results}) == 1
        joined: WorkerReport | None = None
        for result in results:
            report = result.kv_connector_output.kv_connector_worker_meta
            joined = report if joined is None else joined.aggregate(report) if report else joined
        results[0].kv_connector_output = KVConnectorOutput(kv_connector_worker_meta=joined)
        return results[0]

    def _check_copies_of(self, output: SchedulerOutput) -> None:
        metadata = output.kv_connector_metadata
        assert isinstance(metadata, RotationMetadata)
        if self.scheduler._residency.is_stuck:
            assert not metadata.jobs, "a copy was started over a stuck link"
        for slab in {c.slot // self.slots_per_slab for job in metadata.jobs for c in job.copies}:
            assert all(slab in worker.slabs for worker in self.workers)

    @property
    def slots_per_slab(self) -> int:
        return self.scheduler._geometry.slots_per_slab

    def process_one(self) -> None:
        """Process the oldest step in flight, if there is one."""
        if not self._in_flight:
            return
        output, result = self._in_flight.popleft()
        parked = set(self.scheduler._parked)
        for outputs in self.scheduler.update_from_output(output, result).values():
            for one in outputs.outputs:
                self.produced[one.request_id] += len(one.new_token_ids)
                if one.finish_reason is not None:
                    self.finished.add(one.request_id)
                    self.num_finished_while_parked += one.request_id in parked

    def run_until_idle(self, max_steps: int = 5000) -> None:
        """Step until nothing is left to do; raise if that does not happen."""
        assert self.becomes_idle(max_steps), (
            f"still busy after {max_steps} steps: {self.describe()}"
        )

    def becomes_idle(self, max_steps: int) -> bool:
        """Step until nothing is left to do, at most ``max_steps`` times."""
        for _ in range(max_steps):
            if not self.scheduler.has_requests() and not self._in_flight:
                return True
            self.step()
        return False

    def stuck_jobs(self) -> dict[int, CopyJob]:
        """Jobs that some rank reported as stuck and has not ended."""
        return {job.job_id: job for worker in self.workers for job in worker.stuck_jobs}

    def unstick(self) -> None:
        """Let all that was stuck end, and the idle engine take a step, as any request makes it."""
        for worker in self.workers:
            worker.unstick()
        for _ in range(200):
            if not self.scheduler._residency.ledger.num_jobs:
                return
            output = self.scheduler.schedule()
            self._check_copies_of(output)
            self._in_flight.append((output, self._execute(output)))
            self.process_one()
        raise AssertionError(f"copies never ended: {self.describe()}")

    def shut_down(self) -> None:
        """What vLLM's engine core does on SIGTERM with no time to drain: abort everything."""
        for request in self.scheduler.finish_requests(None, RequestStatus.FINISHED_ABORTED):
            self.aborted.add(request.request_id)

    def describe(self) -> str:
        s = self.scheduler
        return (
            f"running={[r.request_id for r in s.running]} waiting={len(s.waiting)}"
            f" skipped={[(r.request_id, r.status.name) for r in s.skipped_waiting]}"
            f" parked={list(s._parked)} free={s._hbm.free_blocks}"
            f" slots={s._residency.slots.num_used}/{s._residency.slots.num_free}"
            f" decision={s._last_decision}"
        )

    def assert_nothing_leaked(self) -> None:
        """No request is left, and what is not free of HBM and DRAM is what stuck copies hold."""
        s = self.scheduler
        s._hbm.resize(s._hbm.max_blocks)
        s._hbm.settle()
        copies = [copy for job in self.stuck_jobs().values() for copy in job.copies]
        pinned = {copy.block for copy in copies}
        assert s.kv_cache_manager.block_pool.get_num_free_blocks() == self.num_blocks - len(pinned)
        for block in s._block_pool.blocks:
            assert block.is_null or (block.ref_cnt > 0) == (block.block_id in pinned)
        assert s._residency.slots.num_used == len({copy.slot for copy in copies})
        assert s._residency.ledger.num_jobs == len(self.stuck_jobs())
        assert s._residency.ledger.num_requests == 0
        assert not s.requests
        assert len(s._table) == 0
        assert not s._parked
        assert not s.running
        assert not s.waiting
        assert not s.skipped_waiting
