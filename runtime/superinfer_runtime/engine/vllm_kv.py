"""The KV cache as vLLM configured it: its sizes, and whether it can rotate."""

from typing import Any

from vllm.v1.kv_cache_interface import FullAttentionSpec, UniformTypeKVCacheSpecs

from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.geometry import KvGeometry


def geometry_of(vllm_config: Any, kv_cache_config: Any, config: EngineConfig) -> KvGeometry:
    """Return the sizes in a `VllmConfig` and a `KVCacheConfig`."""
    world_size = vllm_config.parallel_config.world_size
    worker_bytes = sum(tensor.size for tensor in kv_cache_config.kv_cache_tensors)
    # A model without KV has neither groups nor tensors; then no size is ever used.
    groups = kv_cache_config.kv_cache_groups
    block_bytes = max(worker_bytes // kv_cache_config.num_blocks * world_size, 1)
    return KvGeometry(
        num_blocks=kv_cache_config.num_blocks - 1,
        block_size=groups[0].kv_cache_spec.block_size if groups else 1,
        block_bytes=block_bytes,
        slots_per_slab=max(config.kv_cache.slab_bytes // block_bytes, 1),
        world_size=world_size,
    )


def rotation_obstacle(vllm_config: Any, kv_cache_config: Any, config: EngineConfig) -> str | None:
    """Why this engine's KV cannot rotate; None if it can. Serving goes on without rotation."""
    parallel = vllm_config.parallel_config
    groups = kv_cache_config.kv_cache_groups
    if config.kv_cache.dram is None:
        return "no DRAM budget is configured"
    if vllm_config.device_config.device_type not in ("cpu", "cuda"):
        return f"there is no copy engine for {vllm_config.device_config.device_type} devices"
    if not groups:
        return "the model has no KV cache"
    if len(groups) > 1:
        return f"the model has {len(groups)} kinds of KV cache; rotation handles one"
    spec = groups[0].kv_cache_spec
    if isinstance(spec, UniformTypeKVCacheSpecs):
        specs = list(spec.kv_cache_specs.values())
    else:
        specs = [spec]
    for one in specs:
        if not isinstance(one, FullAttentionSpec):
            return f"its KV cache is a {type(one).__name__}; rotation handles full attention"
        if one.sliding_window is not None or one.attention_chunk_size is not None:
            return "its attention window drops KV blocks while a request runs"
    if vllm_config.speculative_config is not None:
        return "speculative decoding is on"
    if parallel.pipeline_parallel_size > 1:
        return "pipeline parallelism is on"
    if parallel.data_parallel_size > 1:
        return "data parallelism is on"
    if parallel.decode_context_parallel_size > 1 or parallel.prefill_context_parallel_size > 1:
        return "context parallelism is on"
    return None
