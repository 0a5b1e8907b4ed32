"""From a service's spec to the `RuntimeConfig` file of its one runtime on this box.

`runtime_config` is pure. `write_config` is the only place where secrets reach the disk: two files
that nobody but their owner can read, in a directory of the same kind.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr
from superinfer_contract.machine import require_memory
from superinfer_contract.runtime_config import (
    KvCacheConfig,
    RuntimeConfig,
    SchedulerKnobs,
    ServerConfig,
    TelemetryConfig,
    TierBudget,
)
from superinfer_contract.validation import ConfigError

from superinfer_operator.spec import SuperInferService, TierSpec

CONFIG_FILE = "runtime.json"
ADMIN_TOKEN_FILE = "admin-token"


@dataclass(frozen=True, slots=True)
class Wiring:
    """What only the starter of the process knows: addresses and secrets."""

    host: str
    port: int
    admin_token_file: Path
    otlp_endpoint: str
    otlp_token: str


def check_runs_here(service: SuperInferService, memory_limit_bytes: int) -> None:
    """Check what one process on one box cannot do.

    Raises:
        ConfigError: more or fewer than one replica, or a DRAM budget beyond the memory limit.
    """
    if service.spec.replicas != 1:
        raise ConfigError(
            f"spec.replicas: up runs one process on this machine, not {service.spec.replicas}; "
            "set replicas: 1"
        )
    dram = service.spec.kv_cache.dram
    if dram is not None:
        require_memory("spec.kvCache.dram.max", dram.max, memory_limit_bytes)


def runtime_config(service: SuperInferService, wiring: Wiring) -> RuntimeConfig:
    """Return the configuration of ``service``'s runtime, wired to its operator."""
    spec = service.spec
    return RuntimeConfig(
        slo_classes=spec.slo_classes,
        model=None if spec.model is None else spec.model.name,
        policy=spec.policy,
        engine_args=spec.engine.args,
        kv_cache=KvCacheConfig(
            hbm=_bounds(spec.kv_cache.hbm),
            dram=_bounds(spec.kv_cache.dram),
            slab=spec.kv_cache.slab,
        ),
        scheduler=SchedulerKnobs(**spec.scheduler.model_dump(by_alias=False)),
        server=ServerConfig(
            host=wiring.host,
            port=wiring.port,
            admin_token_file=wiring.admin_token_file,
            drain_s=spec.server.drain_s,
        ),
        telemetry=TelemetryConfig(
            otlp_endpoint=wiring.otlp_endpoint,
            otlp_headers={"authorization": SecretStr(f"Bearer {wiring.otlp_token}")},
            interval_s=spec.telemetry.interval_s,
            resource={
                "service.name": service.metadata.name,
                "service.instance.id": f"{service.metadata.name}-0",
            },
        ),
    )


def _bounds(tier: TierSpec | None) -> TierBudget | None:
    if tier is None:
        return None
    return TierBudget(min=tier.min, max=tier.max, initial=tier.initial)


def config_json(config: RuntimeConfig) -> str:
    """Return ``config`` as JSON with its secrets in clear, as the runtime must read them."""
    data = config.model_dump(mode="json", by_alias=True)
    data["telemetry"]["otlp_headers"] = {
        name: value.get_secret_value() for name, value in config.telemetry.otlp_headers.items()
    }
    return json.dumps(data, indent=2)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read (mode 0600)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_config(
    service: SuperInferService, wiring: Wiring, admin_token: str, folder: Path
) -> Path:
    """Write the runtime's files to ``folder`` and return the path of its configuration."""
    write_private(wiring.admin_token_file, admin_token)
    path = folder / CONFIG_FILE
    write_private(path, config_json(runtime_config(service, wiring)))
    return path
