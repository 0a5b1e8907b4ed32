"""What each engine is started with: vLLM's engine arguments, and where they differ.

All have the same model, the same bytes of KV in HBM and the same limits on sequences and tokens a
step; prefix caching is vLLM's default. They differ in scheduler, connector and block size.

*Block size.* Each engine has the one that its users get: stock vLLM 16 tokens on a GPU, ours the 64
that `superinfer serve` takes so that copies are large. Giving stock our 64 would cost it room (a
request leaves half a block empty on average) for something that only rotation needs, so its own
choice is the fairer rival, and what 64 costs counts against us. ``Setup.block_size`` puts one on
all, to tell how much that is. On a CPU, which only tries the contest out, all have 32.

*stock-offload* is vLLM's native offloading (``--kv-offloading-size``, the OffloadingConnector): it
stores full blocks in DRAM and finds them there when a preempted request comes back. It exists on
GPUs alone, and always in DRAM.
"""

from collections.abc import Sequence
from typing import Any

from contest.models import config_of, shape_of
from contest.setup import MAX_MODEL_TOKENS, Setup
from superinfer_contract.runtime_config import TierBudget
from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.engine.config import EngineConfig, KvConfig
from superinfer_runtime.server.vllm_args import GPU_BLOCK_TOKENS, SCHEDULER_CLASS, transfer_config
from superinfer_runtime.sim.workload.planned import slo_classes_of

STOCK_BLOCK_TOKENS, CPU_BLOCK_TOKENS = 16, 32
GIB = 2**30
CPU_SLAB_BYTES = 2**20


def is_ours(engine: str) -> bool:
    return engine in ("released", "rotasched")


def engine_arguments(
    engine: str, setup: Setup, model_folder: str, classes: Sequence[LoadClass]
) -> dict[str, Any]:
    """Return the arguments of vLLM's `AsyncEngineArgs`. ``classes``: the default one first."""
    block_size, num_blocks = block_size_of(engine, setup), kv_blocks(engine, setup)
    arguments: dict[str, Any] = {
        "model": model_folder,
        "load_format": "dummy",
        "skip_tokenizer_init": True,
        "dtype": config_of(setup.model)["dtype"],
        "seed": 0,
        "max_model_len": max_model_tokens(setup.model),
        "max_num_seqs": setup.max_num_seqs,
        "max_num_batched_tokens": setup.max_num_batched_tokens,
        "block_size": block_size,
        "num_gpu_blocks_override": num_blocks,
        # Spares vLLM's search for how much memory there is, which the override makes pointless.
        "kv_cache_memory_bytes": num_blocks * block_size * shape_of(setup.model).kv_bytes_per_token,
        "enforce_eager": not setup.on_gpu,
    }
    if engine == "stock-offload":
        arguments |= {"kv_offloading_size": setup.dram_gib, "kv_offloading_backend": "native"}
    elif is_ours(engine):
        config = EngineConfig.model_validate(
            {
                "slo_classes": slo_classes_of(classes),
                "kv_cache": KvConfig(
                    dram=TierBudget(max=int(setup.dram_gib * GIB)),
                    slab_bytes=GIB if setup.on_gpu else CPU_SLAB_BYTES,
                    tier="peer" if setup.tier == "peer" else "host",
                ),
                "policy": engine,
            }
        )
        arguments |= {
            "scheduler_cls": SCHEDULER_CLASS,
            "kv_transfer_config": transfer_config(config),
        }
    if setup.time_scheduler:
        timed = "TimedRota" if is_ours(engine) else "TimedStock"
        arguments["scheduler_cls"] = f"contest.timed_schedulers.{timed}"
    return arguments


def block_size_of(engine: str, setup: Setup) -> int:
    if setup.block_size is not None:
        return setup.block_size
    if not setup.on_gpu:
        return CPU_BLOCK_TOKENS
    return GPU_BLOCK_TOKENS if is_ours(engine) else STOCK_BLOCK_TOKENS


def kv_blocks(engine: str, setup: Setup) -> int:
    """Blocks of HBM; one more than the tokens need, because vLLM never uses the first."""
    return -(-setup.kv_tokens // block_size_of(engine, setup)) + 1


def max_model_tokens(model: str) -> int:
    return min(MAX_MODEL_TOKENS, int(config_of(model)["max_position_embeddings"]))
