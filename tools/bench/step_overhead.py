"""What RotaScheduler costs a step beside stock vLLM's `AsyncScheduler`, without a model.

Both schedule the same load in one process, with one step in flight as vLLM has it: windows of
steps alternate, so that a machine that slows down hits both alike. A step is what the engine core
spends in its scheduler: new requests, `schedule`, `update_from_output`; its CPU time is taken, and
the median of all steps compared. Nothing is short, so the policy has nothing to rotate: this is the
price of being there. Both have vLLM's own blocks of 16 tokens and no prefix cache, whose hashing
costs both the same.
"""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

import gc
import itertools
import statistics
import time
from typing import Any

import torch
from superinfer_runtime.server.vllm_args import CONNECTOR, CONNECTOR_MODULE, SCHEDULER_CLASS
from superinfer_runtime.tiny_model import ensure_tiny_model
from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.kv_cache_interface import (
    FullAttentionSpec,
    KVCacheConfig,
    KVCacheGroupSpec,
    KVCacheTensor,
)
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

SIZES = (256, 1024)
BLOCK_SIZE, BLOCK_BYTES = 16, 1024
PROMPT_TOKENS, ANSWER_TOKENS = 64, 128
WINDOW_STEPS, WINDOWS = 10, 40
MAX_MODEL_TOKENS = 4096


def step_overhead() -> dict[str, dict[str, float]]:
    """Median CPU time of a step of each, in ms, and ours over stock's; by load and sequences."""
    return {
        f"{load}, {size}": _compare(size, admits=load == "admitting")
        for load in ("decoding", "admitting")
        for size in SIZES
    }


def _compare(size: int, *, admits: bool) -> dict[str, float]:
    drives = {name: SteadyDrive(name, size, admits=admits) for name in ("stock", "rotasched")}
    for drive in drives.values():
        drive.fill()
    gc.collect()
    gc.freeze()
    try:
        steps_s: dict[str, list[float]] = {name: [] for name in drives}
        for _ in range(WINDOWS):
            for name, drive in drives.items():
                steps_s[name] += drive.window(WINDOW_STEPS)
    finally:
        gc.unfreeze()
    medians_ms = {name: statistics.median(times) * 1e3 for name, times in steps_s.items()}
    return {
        "stock_ms": round(medians_ms["stock"], 4),
        "rotasched_ms": round(medians_ms["rotasched"], 4),
        "ratio": round(medians_ms["rotasched"] / medians_ms["stock"], 4),
    }


class SteadyDrive:
    """A scheduler with ``size`` running requests, and a worker that answers at once.

    ``admits``: requests end after `ANSWER_TOKENS` and as many new ones arrive, spread evenly over
    the steps; else nobody ever ends.
    """

    def __init__(self, name: str, size: int, *, admits: bool) -> None:
        self.scheduler = _scheduler(name, size, admits=admits)
        self._size = size
        self._admits = admits
        self._numbers = itertools.count()
        self._steps = itertools.count()
        self._in_flight: Any = None

    def fill(self) -> None:
        """Bring it to its steady state."""
        if not self._admits:
            for _ in range(self._size):
                self._add()
        self.window(2 * ANSWER_TOKENS)
        num_running = len(self.scheduler.running)
        if not 0.9 * self._size <= num_running <= 1.1 * self._size:
            raise RuntimeError(f"{num_running} requests run, {self._size} were meant to")

    def window(self, num_steps: int) -> list[float]:
        """The CPU time of each of the next steps, in seconds."""
        times_s = []
        for _ in range(num_steps):
            start_s = time.thread_time()
            self._add_due()
            output = self.scheduler.schedule()
            spent_s = time.thread_time() - start_s
            result = _computed(self.scheduler, output)
            if self._in_flight is not None:
                start_s = time.thread_time()
                self.scheduler.update_from_output(*self._in_flight)
                spent_s += time.thread_time() - start_s
            self._in_flight = (output, result)
            times_s.append(spent_s)
        return times_s

    def _add_due(self) -> None:
        if self._admits:
            step = next(self._steps)
            due = self._size * (step + 1) // ANSWER_TOKENS - self._size * step // ANSWER_TOKENS
            for _ in range(due):
                self._add()

    def _add(self) -> None:
        max_tokens = ANSWER_TOKENS if self._admits else MAX_MODEL_TOKENS - PROMPT_TOKENS
        self.scheduler.add_request(
            Request(
                request_id=f"request-{next(self._numbers)}",
                prompt_token_ids=[7] * PROMPT_TOKENS,
                sampling_params=SamplingParams(max_tokens=max_tokens, ignore_eos=True),
                pooling_params=None,
                arrival_time=time.time(),
            )
        )


def _computed(scheduler: Any, output: Any) -> ModelRunnerOutput:
    """One token for everybody whose prompt is computed."""
    ids = list(output.num_scheduled_tokens)
    return ModelRunnerOutput(
        req_ids=ids,
        req_id_to_index={request_id: index for index, request_id in enumerate(ids)},
        sampled_token_ids=[
            [] if scheduler.requests[request_id].is_prefill_chunk else [7] for request_id in ids
        ],
    )


def _scheduler(name: str, size: int, *, admits: bool) -> Any:
    """A scheduler with more than twice the KV that its load ever takes."""
    plug_ins: dict[str, Any] = {
        "scheduler_cls": SCHEDULER_CLASS,
        "kv_transfer_config": {
            "kv_connector": CONNECTOR,
            "kv_connector_module_path": CONNECTOR_MODULE,
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "superinfer": {"kv_cache": {"dram": {"max": 2**20}, "slab_bytes": 2**20}}
            },
        },
    }
    config = EngineArgs(
        model=str(ensure_tiny_model()),
        skip_tokenizer_init=True,
        dtype="float32",
        enforce_eager=True,
        max_model_len=MAX_MODEL_TOKENS,
        max_num_seqs=2 * size,
        max_num_batched_tokens=8192,
        block_size=32,  # the CPU platform's least; the scheduler below is given its own
        enable_prefix_caching=False,
        kv_cache_memory_bytes=1 << 20,
        **(plug_ins if name == "rotasched" else {}),
    ).create_engine_config()
    config.scheduler_config.async_scheduling = True
    config.cache_config.block_size = BLOCK_SIZE
    # What it has decoded when the last window ends, or at most at any time.
    steps = 2 * ANSWER_TOKENS + WINDOWS * WINDOW_STEPS
    longest = PROMPT_TOKENS + (ANSWER_TOKENS if admits else steps)
    num_blocks = 3 * size * (longest // BLOCK_SIZE + 1)
    config.cache_config.num_gpu_blocks = num_blocks
    spec = FullAttentionSpec(
        block_size=BLOCK_SIZE, num_kv_heads=1, head_size=1, dtype=torch.float32
    )
    scheduler_type = config.scheduler_config.get_scheduler_cls()
    return scheduler_type(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(
            num_blocks=num_blocks,
            kv_cache_tensors=[KVCacheTensor(size=num_blocks * BLOCK_BYTES, shared_by=["layer"])],
            kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)],
        ),
        structured_output_manager=StructuredOutputManager(config),
        block_size=BLOCK_SIZE,
        log_stats=True,
    )
