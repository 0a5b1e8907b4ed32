"""From the runtime configuration to vLLM's command line (pure).

vLLM is configured in two goes: its parser first reads the model and the user's engine arguments;
what follows from the result (how many workers share the HBM budget, whether this engine can rotate)
then becomes more arguments of the same kind, so that nothing of vLLM's configuration is built by
hand.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue
from superinfer_contract.runtime_config import RuntimeConfig, TierBudget
from superinfer_contract.validation import ConfigError

from superinfer_runtime.engine.config import EXTRA_CONFIG_KEY, EngineConfig, KvConfig

SCHEDULER_CLASS = "superinfer_runtime.engine.scheduler.RotaScheduler"
CONNECTOR = "RotaConnector"
CONNECTOR_MODULE = "superinfer_runtime.engine.connector"
GPU_BLOCK_TOKENS = 64

_SET_ELSEWHERE = {
    "model": "model",
    "host": "server.host",
    "port": "server.port",
    "shutdown-timeout": "server.drain_s",
}
# Without a --no- form (vLLM's parser has them as store_true): false is leaving them out.
_BARE_FLAGS = frozenset(
    {
        "aggregate-engine-logging",
        "data-parallel-multi-port-external-lb",
        "disable-log-stats",
        "grpc",
        "headless",
    }
)
_APPENDED = frozenset({"middleware"})
_JSON_LISTS = frozenset({"allowed-headers", "allowed-methods", "allowed-origins"})


def engine_argv(config: RuntimeConfig, model: str, defaults: Mapping[str, JsonValue]) -> list[str]:
    """Return the first go: model, drain time and the user's engine arguments over ``defaults``.

    Raises:
        ConfigError: an engine argument that has its own place in the configuration.
    """
    user = {_flag_name(key): value for key, value in config.engine_args.items()}
    for name, field in _SET_ELSEWHERE.items():
        if name in user:
            raise ConfigError(f"engine_args.{name}: set {field} instead")
    if config.kv_cache.hbm is not None and "kv-cache-memory-bytes" in user:
        raise ConfigError("engine_args.kv-cache-memory-bytes: kv_cache.hbm.max sets it already")
    merged = {_flag_name(key): value for key, value in defaults.items()} | user
    argv = [f"--model={model}", f"--shutdown-timeout={math.ceil(config.server.drain_s)}"]
    for name, value in merged.items():
        argv += _flag(name, value)
    return argv


def hbm_argv(hbm: TierBudget | None, num_workers: int) -> list[str]:
    """Return vLLM's size of the KV cache: it counts bytes a worker, the budget all of them."""
    return [] if hbm is None else [f"--kv-cache-memory-bytes={hbm.max // num_workers}"]


def block_size_argv(block_size: int | None) -> list[str]:
    """Return the KV block size for rotation on a GPU, unless the user chose one.

    vLLM keeps a tensor a layer, so a block is as many pieces of memory as the model has layers.
    With vLLM's 16 tokens these are so small that copying them takes the GPU's driver, or its SMs,
    away from the model; with 64 the copy engines can do it alone (docs/benchmarks.md).
    """
    return [f"--block-size={GPU_BLOCK_TOKENS}"] if block_size is None else []


def rotation_argv(config: RuntimeConfig, control_socket: str) -> list[str]:
    """Return what makes vLLM load RotaSched and DuplexKV."""
    transfer = kv_transfer_config(config, control_socket)
    return [f"--scheduler-cls={SCHEDULER_CLASS}", f"--kv-transfer-config={json.dumps(transfer)}"]


def kv_transfer_config(config: RuntimeConfig, control_socket: str) -> dict[str, Any]:
    """Return vLLM's ``--kv-transfer-config``: the connector and the plug-ins' configuration.

    All sizes are bytes, all times seconds. It holds no secret: vLLM logs its arguments.
    """
    engine = EngineConfig(
        slo_classes=config.slo_classes,
        kv_cache=KvConfig(
            hbm=config.kv_cache.hbm,
            dram=config.kv_cache.dram,
            slab_bytes=config.kv_cache.slab,
            tier=config.kv_cache.tier,
        ),
        scheduler=config.scheduler,
        control_socket=control_socket,
    )
    return transfer_config(engine)


def transfer_config(engine: EngineConfig) -> dict[str, Any]:
    """Return what makes vLLM load the connector, and brings the plug-ins ``engine``."""
    return {
        "kv_connector": CONNECTOR,
        "kv_connector_module_path": CONNECTOR_MODULE,
        "kv_role": "kv_both",
        "kv_connector_extra_config": {EXTRA_CONFIG_KEY: engine.model_dump(mode="json")},
    }


def _flag_name(key: str) -> str:
    # vLLM takes dashes and underscores; only what stands before a dot is the flag's name.
    name, dot, rest = key.removeprefix("--").partition(".")
    return name.replace("_", "-") + dot + rest


def _flag(name: str, value: JsonValue) -> list[str]:
    flag = f"--{name}"
    match value:
        case None:
            return []
        case True:
            return [flag]
        case False:
            return [] if name in _BARE_FLAGS else [f"--no-{name}"]
        case dict():
            return [f"{flag}={json.dumps(value)}"]
        case list() if name in _JSON_LISTS:
            return [f"{flag}={json.dumps(value)}"]
        case list() if name in _APPENDED:
            return [f"{flag}={_text(item)}" for item in value]
        case list():
            return [flag, *_texts(value)] if value else []
        case _:
            # With "=", so that a value that begins with a dash is none too.
            return [f"{flag}={_text(value)}"]


def _texts(values: Sequence[JsonValue]) -> list[str]:
    return [_text(value) for value in values]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
