"""The simulator's stock scheduler beside vLLM's own: the same decisions, step by step.

Both are driven through the same loop with the same requests, arriving at the same steps; what each
step computes for whom, who loses its KV and who ends must be equal, with synchronous and with
asynchronous scheduling, with and without a prefix cache.
"""

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.slo import PAPER_DEFAULT_CLASS
from superinfer_runtime.sim.live_request import LiveRequest
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.stock_scheduler import EngineLimits, ScheduledStep, StockScheduler
from superinfer_runtime.tiny_model import ensure_tiny_model
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
)
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

BLOCK_SIZE = 4
MAX_MODEL_LEN = 64
MAX_STEPS = 3000


@dataclass(frozen=True)
class Asked:
    """A request of the test: the step before which it arrives, its lengths, and its family.

    Requests of one family begin with the same tokens, as far as both go.
    """

    at_step: int
    prompt: int
    output: int
    family: int | None

    def token(self, number: int, position: int) -> int:
        seed = (self.family or 0) if self.family is not None else 1000 + number
        return 10 + (seed * 7919 + position * 31) % 400


@dataclass(frozen=True)
class FamilyText:
    family: int

    def block_key(self, index: int, block_size: int) -> tuple[int, int]:
        return self.family, index


Step = tuple[dict[str, int], tuple[str, ...]]
"""Tokens computed by request, and the requests that ended with the step's output."""


@cache
def vllm_config(asynchronous: bool, caching: bool) -> Any:
    config = EngineArgs(
        model=str(ensure_tiny_model()),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=MAX_MODEL_LEN,
        max_num_batched_tokens=64,
        block_size=32,
        enable_prefix_caching=caching,
        kv_cache_memory_bytes=1 << 20,
    ).create_engine_config()
    config.scheduler_config.async_scheduling = asynchronous
    config.cache_config.block_size = BLOCK_SIZE
    return config


class RealScheduler:
    """vLLM's scheduler without a model."""

    def __init__(self, limits: EngineLimits, num_blocks: int) -> None:
        config = vllm_config(limits.async_scheduling, limits.prefix_caching)
        config.scheduler_config.max_num_seqs = limits.max_num_seqs
        config.scheduler_config.max_num_batched_tokens = limits.max_num_batched_tokens
        config.scheduler_config.max_num_scheduled_tokens = limits.max_num_batched_tokens
        config.cache_config.num_gpu_blocks = num_blocks + 1
        spec = FullAttentionSpec(
            block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32
        )
        kind = AsyncScheduler if limits.async_scheduling else Scheduler
        self.scheduler = kind(
            vllm_config=config,
            kv_cache_config=KVCacheConfig(
                num_blocks=num_blocks + 1,  # one of them is vLLM's null block
                kv_cache_tensors=[KVCacheTensor(size=1 << 20, shared_by=["layer"])],
                kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
            ),
            structured_output_manager=StructuredOutputManager(config),
            block_size=BLOCK_SIZE,
            log_stats=False,
        )
        self.asked: dict[str, Asked] = {}
        init_none_hash(sha256)

    def add(self, number: int, asked: Asked) -> None:
        name = f"r{number}"
        self.asked[name] = asked
        self.scheduler.add_request(
            Request(
                request_id=name,
                prompt_token_ids=[asked.token(number, n) for n in range(asked.prompt)],
                sampling_params=SamplingParams(max_tokens=asked.output, ignore_eos=True),
                pooling_params=None,
                arrival_time=float(number),
                block_hasher=get_request_block_hasher(BLOCK_SIZE, sha256),
            )
        )

    def plan(self) -> Any:
        output = self.scheduler.schedule()
        sampled = [
            name
            for name in output.num_scheduled_tokens
            if not self.scheduler.requests[name].is_prefill_chunk
        ]
        return (output, sampled) if output.num_scheduled_tokens else None

    def computed(self, planned: Any) -> dict[str, int]:
        return dict(planned[0].num_scheduled_tokens)

    def finish(self, planned: Any) -> tuple[str, ...]:
        output, sampled = planned
        names = list(output.num_scheduled_tokens)
        tokens = []
        for name in names:
            request = self.scheduler.requests.get(name)
            known = request.num_tokens if request is not None else 0
            number = int(name[1:])
            tokens.append([self.asked[name].token(number, known)] if name in sampled else [])
        result = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: index for index, name in enumerate(names)},
            sampled_token_ids=tokens,
        )
        ended = [
            one.request_id
            for outputs in self.scheduler.update_from_output(output, result).values()
            for one in outputs.outputs
            if one.finish_reason is not None
        ]
        return tuple(sorted(ended))

    @property
    def has_requests(self) -> bool:
        return bool(self.scheduler.has_requests())


class SimulatedScheduler:
    """Ours, behind the same verbs."""

    def __init__(self, limits: EngineLimits, num_blocks: int) -> None:
        self.scheduler = StockScheduler(limits, num_blocks)

    def add(self, number: int, asked: Asked) -> None:
        content = FamilyText(asked.family if asked.family is not None else 1000 + number)
        request = SimRequest(
            f"r{number}",
            float(number),
            asked.prompt,
            asked.output,
            max_tokens=asked.output,
            content=content,
        )
        self.scheduler.add(LiveRequest(request, 0.0, MAX_MODEL_LEN, PAPER_DEFAULT_CLASS, {}))

    def plan(self) -> ScheduledStep | None:
        step = self.scheduler.schedule(0.0)
        return step if step.work else None

    def computed(self, planned: ScheduledStep) -> dict[str, int]:
        return {live.request_id: count for live, count, _ in planned.work}

    def finish(self, planned: ScheduledStep) -> tuple[str, ...]:
        return tuple(sorted(live.request_id for live in self.scheduler.update(planned, 0.0)))

    @property
    def has_requests(self) -> bool:
        return self.scheduler.has_requests


def drive(scheduler: Any, requests: list[Asked], depth: int) -> list[Step]:
    """vLLM's engine loop: as many steps in flight as may be, then the oldest one's output."""
    steps: list[Step] = []
    coming = deque(sorted(enumerate(requests), key=lambda pair: pair[1].at_step))
    in_flight: deque[Any] = deque()
    for tick in range(MAX_STEPS):
        while coming and coming[0][1].at_step <= tick:
            scheduler.add(*coming.popleft())
        while len(in_flight) < depth and (planned := scheduler.plan()) is not None:
            in_flight.append((planned, scheduler.computed(planned)))
        if in_flight:
            planned, computed = in_flight.popleft()
            steps.append((computed, scheduler.finish(planned)))
        elif not coming:
            assert not scheduler.has_requests
            return steps
    raise AssertionError(f"not done after {MAX_STEPS} steps")


requests_of_one_run = st.lists(
    st.builds(
        Asked,
        at_step=st.integers(0, 30),
        prompt=st.integers(1, 40),
        output=st.integers(1, 24),
        family=st.none() | st.integers(0, 2),
    ),
    min_size=1,
    max_size=14,
)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("caching", [False, True], ids=["no cache", "cache"])
@settings(max_examples=120, deadline=None)
@given(
    requests=requests_of_one_run,
    num_blocks=st.integers(16, 40),
    max_num_seqs=st.integers(1, 8),
    max_step_tokens=st.sampled_from([8, 17, 64]),
)
def test_every_decision_is_vllms(
    asynchronous: bool,
    caching: bool,
    requests: list[Asked],
    num_blocks: int,
    max_num_seqs: int,
    max_step_tokens: int,
) -> None:
    limits = EngineLimits(
        block_size=BLOCK_SIZE,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_step_tokens,
        max_model_len=MAX_MODEL_LEN,
        prefix_caching=caching,
        async_scheduling=asynchronous,
    )
    real = drive(RealScheduler(limits, num_blocks), requests, limits.max_steps_in_flight)
    simulated = drive(SimulatedScheduler(limits, num_blocks), requests, limits.max_steps_in_flight)
    assert simulated == real


def test_the_comparison_sees_preemption() -> None:
    """A case small enough for its memory to run out, so that the above compares that as well."""
    limits = EngineLimits(BLOCK_SIZE, 8, 64, MAX_MODEL_LEN, prefix_caching=False)
    scheduler = SimulatedScheduler(limits, 16)
    drive(scheduler, [Asked(0, 20, 24, None) for _ in range(4)], limits.max_steps_in_flight)
    assert scheduler.scheduler.recomputes > 0
