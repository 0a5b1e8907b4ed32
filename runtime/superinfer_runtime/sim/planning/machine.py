"""From a service to what the simulator runs: model, machine, vLLM's limits, and room for KV.

What changes a model's cost and is not simulated is refused rather than passed over.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue
from superinfer_contract.service import ServiceSpec
from superinfer_contract.validation import ConfigError, load_mapping

from superinfer_runtime.server.vllm_args import GPU_BLOCK_TOKENS
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import Hardware, hardware
from superinfer_runtime.sim.machine.model_shape import ModelShape, known_model
from superinfer_runtime.sim.planning.search import Provision
from superinfer_runtime.sim.planning.spec import MIB, Room
from superinfer_runtime.sim.stock_scheduler import EngineLimits

DEFAULT_HARDWARE = "gh200-96-480"
PRESETS = {
    "NVIDIA-GH200-480GB": "gh200-96-480",
    "NVIDIA-GH200-144G-HBM3e": "gh200-144-480",
    "NVIDIA-H200": "h200",
    "NVIDIA-H100-80GB-HBM3": "h100",
}
"""Values of the node label nvidia.com/gpu.product that have a preset."""
NOT_SIMULATED = {
    "quantization": None,
    "kv-cache-dtype": "auto",
    "pipeline-parallel-size": 1,
    "data-parallel-size": 1,
    "decode-context-parallel-size": 1,
    "speculative-config": None,
    "enable-chunked-prefill": True,
}
"""Engine arguments with the only value that the cost model knows."""


def machine(spec: ServiceSpec, name: str | None) -> Hardware:
    """Return the preset ``name``, or else that of the service's first GPU product with one.

    Raises:
        ConfigError: there is none of this name.
    """
    products = (PRESETS.get(product) for product in spec.placement.gpu_products)
    try:
        return hardware(name or next(filter(None, products), DEFAULT_HARDWARE))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def model_shape(spec: ServiceSpec, config_file: Path | None) -> ModelShape:
    """Return the shape in ``config_file``, or else the built-in one of the service's model.

    Raises:
        ConfigError: neither is there, or the file is of a model that is not simulated.
    """
    name = "" if spec.model is None else spec.model.name
    try:
        if config_file is not None:
            return ModelShape.from_config(load_mapping(config_file), name)
        if spec.model is None:
            raise ValueError("left out, and the embedded tiny model is not simulated")
        return known_model(name)
    except ValueError as error:
        where = "spec.model" if config_file is None else config_file
        remedy = "" if config_file is not None else " (--model-config)"
        raise ConfigError(f"{where}: {error}{remedy}") from error


def base_deployment(spec: ServiceSpec, model: ModelShape, on: Hardware) -> Deployment:
    """Return one replica of the service with all KV memory that there is.

    Raises:
        ConfigError: an engine argument is not simulated or no number, or the model does not fit.
    """
    args = _engine_args(spec)
    default = EngineLimits()
    block_size = GPU_BLOCK_TOKENS if spec.policy == "rotasched" else default.block_size
    limits = EngineLimits(
        block_size=_size(args, "block-size", block_size),
        max_num_seqs=_size(args, "max-num-seqs", default.max_num_seqs),
        max_num_batched_tokens=_size(
            args, "max-num-batched-tokens", default.max_num_batched_tokens
        ),
        max_model_len=_size(args, "max-model-len", default.max_model_len),
        prefix_caching=args.get("enable-prefix-caching", default.prefix_caching) is True,
        async_scheduling=args.get("async-scheduling", default.async_scheduling) is True,
    )
    tensor_parallel = _size(args, "tensor-parallel-size", 1)
    if tensor_parallel > on.num_gpus:
        raise ConfigError(
            f"spec.engine.args.tensor-parallel-size: {on.name} has {on.num_gpus} GPUs a replica, "
            f"not {tensor_parallel}"
        )
    try:
        return Deployment(model, on, limits, spec.scheduler, tensor_parallel)
    except ValueError as error:
        raise ConfigError(f"spec.model: {error}") from error


def room_for_kv(spec: ServiceSpec, base: Deployment) -> Room:
    """Return what a machine holds of KV beside the weights and the pod's other memory."""
    blocks = math.ceil(base.limits.max_model_len / base.limits.block_size)
    dram_bytes = base.hardware.dram_bytes * base.tensor_parallel - spec.resources.memory
    return Room(
        hbm_bytes=base.max_hbm_blocks * base.block_bytes // MIB * MIB,
        min_hbm_bytes=blocks * base.block_bytes,
        dram_bytes=max(int(dram_bytes / spec.resources.dram_charge), 0),
    )


def deployed(base: Deployment, provision: Provision) -> Deployment:
    """Return ``base`` with what it is given."""
    knobs = {"transfer_budget_blocks": provision.transfer_budget_blocks}
    return replace(
        base,
        replicas=provision.replicas,
        hbm_kv_bytes=provision.hbm_bytes,
        dram_kv_bytes=provision.dram_bytes,
        knobs=base.knobs.model_copy(update=knobs),
    )


def _engine_args(spec: ServiceSpec) -> dict[str, JsonValue]:
    args = {
        name.removeprefix("--").replace("_", "-"): value for name, value in spec.engine.args.items()
    }
    for name, simulated in NOT_SIMULATED.items():
        if args.get(name, simulated) != simulated:
            raise ConfigError(f"spec.engine.args.{name}: {json.dumps(args[name])} is not simulated")
    return args


def _size(args: Mapping[str, JsonValue], name: str, default: int) -> int:
    value = args.get(name, default)
    try:
        size = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        size = 0
    if size < 1:
        raise ConfigError(f"spec.engine.args.{name}: {value!r} is not a number above 0")
    return size
