"""vLLM in this process, in the shape that the checks want it: on a CPU or on GPUs.

On a GPU: bfloat16, CUDA graphs, asynchronous scheduling, batch-invariant kernels where tokens are
compared. On a CPU vLLM is synchronous and in float32. KV has room for about a third of what the
requests need, and objectives are so tight that requests rotate all the time.
"""

import gc
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rotation.bench_model import write_model
from rotation.probes import CountingScheduler
from superinfer_runtime.tiny_model import ensure_tiny_model
from vllm import LLM, SamplingParams

SETTLE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Platform:
    """Sizes that suit a device."""

    num_requests: int
    max_tokens: int
    vocabulary: int
    ample_blocks: int
    few_blocks: int
    slab_bytes: int
    num_slabs: int
    min_rotations: int
    run_quantum_s: float
    arguments: dict[str, Any]

    @property
    def is_cuda(self) -> bool:
        return "kv_cache_memory_bytes" not in self.arguments


def cpu() -> Platform:
    return Platform(
        num_requests=12,
        max_tokens=200,
        vocabulary=500,
        ample_blocks=200,
        few_blocks=48,
        slab_bytes=1 << 20,
        num_slabs=8,
        min_rotations=50,
        run_quantum_s=0.02,
        arguments={
            "dtype": "float32",
            "enforce_eager": True,
            "max_model_len": 512,
            "block_size": 32,
            "kv_cache_memory_bytes": 64 * 1024,  # of one block
        },
    )


def cuda(tensor_parallel: int) -> Platform:
    return Platform(
        num_requests=32,
        max_tokens=500,
        vocabulary=30000,
        ample_blocks=3000,
        few_blocks=360,
        slab_bytes=64 << 20,
        num_slabs=8,
        min_rotations=300,
        run_quantum_s=0.01,
        arguments={
            "dtype": "bfloat16",
            "max_model_len": 1024,
            "gpu_memory_utilization": 0.15,
            "tensor_parallel_size": tensor_parallel,
        },
    )


def platform(tensor_parallel: int = 1) -> Platform:
    return cuda(tensor_parallel) if torch.cuda.is_available() else cpu()


@contextmanager
def model_folder(on: Platform) -> Iterator[str]:
    """The model's folder, while the context lasts."""
    if not on.is_cuda:
        yield str(ensure_tiny_model())
        return
    with tempfile.TemporaryDirectory() as folder:
        yield str(write_model(Path(folder)))


@contextmanager
def serving(
    model: str,
    on: Platform,
    connector: str | None = None,
    *,
    tier: str = "host",
    few_blocks: bool | None = None,
    **arguments: Any,
) -> Iterator[LLM]:
    """vLLM with ``connector`` of `rotation.probes` and few blocks; None: stock, with ample KV."""
    rotates = connector is not None
    blocks = on.few_blocks if (rotates if few_blocks is None else few_blocks) else on.ample_blocks
    chosen = {**on.arguments, "num_gpu_blocks_override": blocks, **arguments}
    if not on.is_cuda:
        del chosen["num_gpu_blocks_override"]
        chosen["kv_cache_memory_bytes"] = blocks * on.arguments["kv_cache_memory_bytes"]
    if rotates:
        chosen |= {
            "scheduler_cls": CountingScheduler,
            "kv_transfer_config": transfer_config(str(connector), on, tier),
        }
    chosen.setdefault("enable_prefix_caching", False)
    llm = LLM(
        model=model,
        skip_tokenizer_init=True,
        max_num_seqs=on.num_requests,
        disable_log_stats=True,
        seed=0,
        **chosen,
    )
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        if on.is_cuda:
            torch.cuda.empty_cache()


def transfer_config(connector: str, on: Platform, tier: str) -> dict[str, Any]:
    return {
        "kv_connector": connector,
        "kv_connector_module_path": "rotation.probes",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "superinfer": {
                "slo_classes": [{"name": "d", "ttft_s": 0.01, "tbt_s": 1.0, "default": True}],
                "kv_cache": {
                    "dram": {"max": on.num_slabs * on.slab_bytes},
                    "slab_bytes": on.slab_bytes,
                    "tier": tier,
                },
                "scheduler": {
                    "run_quantum_s": on.run_quantum_s,
                    "tbt_credit": 0.0,
                    "relegate": False,
                    # No preemption by recompute: under CUDA it may change tokens by itself.
                    "growth_horizon_steps": 48,
                },
            }
        },
    }


def requests(on: Platform) -> tuple[list[Any], list[SamplingParams]]:
    """The same prompts and seeds each time."""
    rng = random.Random(1)
    prompts = [
        {
            "prompt_token_ids": [
                rng.randrange(10, on.vocabulary) for _ in range(rng.randrange(20, 90))
            ]
        }
        for _ in range(on.num_requests)
    ]
    sampling = [
        SamplingParams(
            temperature=1.0, seed=n, max_tokens=on.max_tokens, ignore_eos=True, detokenize=False
        )
        for n in range(on.num_requests)
    ]
    return prompts, sampling


def generate(llm: LLM, on: Platform) -> list[list[int]]:
    """Return the tokens of all requests."""
    prompts, sampling = requests(on)
    outputs = llm.generate(prompts, sampling, use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def settle(llm: LLM, after_s: float = 0.0) -> None:
    """Step until the last acknowledgements are in; first wait ``after_s`` and serve one more.

    An idle engine takes no steps, so what ends meanwhile is noticed with the next request.
    """
    if after_s:
        time.sleep(after_s)
        prompt: Any = {"prompt_token_ids": [11, 12, 13]}
        llm.generate([prompt], SamplingParams(max_tokens=4, ignore_eos=True), use_tqdm=False)
    scheduler = CountingScheduler.latest
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    while scheduler.has_requests() and time.monotonic() < deadline_s:
        llm.llm_engine.step()
        time.sleep(0.005)


def left_over() -> dict[str, int]:
    """What is in use when all requests are gone: all of it must be 0."""
    scheduler = CountingScheduler.latest
    residency = scheduler._residency
    residency.ledger.check()
    return {
        "requests": len(scheduler.requests),
        "ledger_entries": residency.ledger.num_requests,
        "open_jobs": residency.ledger.num_jobs,
        "used_slots": residency.slots.num_used,
        "hbm_blocks": scheduler._hbm.used_blocks,
    }


def counted() -> dict[str, Any]:
    """What happened so far."""
    scheduler = CountingScheduler.latest
    residency = scheduler._residency
    return {
        "rotations_out": residency.out.rotations,
        "rotations_in": residency.into.rotations,
        "bytes_out": residency.out.num_bytes,
        "bytes_in": residency.into.num_bytes,
        "recompute_preemptions": scheduler._recompute_preemptions,
        "copy_failures": residency.copy_failures,
        "rotation_off": scheduler._rotation_off_reason,
    }


def configure(batch_invariant: bool) -> None:
    """Set vLLM's environment; before its first use in this process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the scheduler lives in this process
    os.environ["VLLM_HOST_IP"] = "127.0.0.1"
    if batch_invariant and torch.cuda.is_available():
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
