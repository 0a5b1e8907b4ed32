"""From a service's spec to the `RuntimeConfig` of its runtimes.

`runtime_config` is pure and serves both `up` and Kubernetes. The configuration names the files that
hold secrets and never holds one, so it can stand in a ConfigMap and in a log.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from superinfer_contract.machine import require_memory
from superinfer_contract.runtime_config import (
    KvCacheConfig,
    RuntimeConfig,
    SchedulerKnobs,
    ServerConfig,
    TelemetryConfig,
    TierBudget,
    TlsConfig,
)
from superinfer_contract.service import ServiceSpec, SuperInferService, TierSpec
from superinfer_contract.validation import ConfigError

CONFIG_FILE = "runtime.json"
ADMIN_TOKEN_FILE = "admin-token"
OTLP_TOKEN_FILE = "otlp-token"
OTLP_CA_FILE = "otlp-ca.crt"


@dataclass(frozen=True, slots=True)
class Wiring:
    """What only the starter of the runtime knows: addresses and where it finds its secrets."""

    host: str
    port: int
    tokens: Path
    """Folder of the files `ADMIN_TOKEN_FILE` and `OTLP_TOKEN_FILE`."""
    otlp_endpoint: str
    resource: dict[str, str] = field(default_factory=dict)
    """OpenTelemetry resource attributes that name the runtime's process."""
    otlp_ca_file: Path | None = None
    api_key_file: Path | None = None
    tls: TlsConfig | None = None


def check_runs_here(
    service: SuperInferService, memory_limit_bytes: int, api_key_file: Path | None = None
) -> None:
    """Check what one process on one box cannot do.

    Raises:
        ConfigError: more or fewer than one replica, a DRAM budget beyond the memory limit, or
            Secrets without a file in their place: a service is never less guarded than it says.
    """
    server = service.spec.server
    if server.api_key_secret_ref is not None and api_key_file is None:
        raise ConfigError(
            "spec.server.apiKeySecretRef: up reads no Secret; give the keys with --api-key-file"
        )
    if server.tls is not None:
        raise ConfigError(
            "spec.server.tls: up reads no Secret and serves plain HTTP; leave it out, or run "
            "superinfer serve with server.tls in its configuration"
        )
    if service.spec.replicas not in (None, 1):
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
            hbm=_hbm(spec),
            dram=_bounds(spec.kv_cache.dram),
            slab=spec.kv_cache.slab,
        ),
        scheduler=SchedulerKnobs(**spec.scheduler.model_dump(by_alias=False)),
        server=ServerConfig(
            host=wiring.host,
            port=wiring.port,
            admin_token_file=wiring.tokens / ADMIN_TOKEN_FILE,
            api_key_file=wiring.api_key_file,
            tls=wiring.tls,
            max_body=spec.server.max_body,
            max_concurrent_requests=spec.server.max_concurrent_requests,
            drain_s=spec.server.drain_s,
        ),
        telemetry=TelemetryConfig(
            otlp_endpoint=wiring.otlp_endpoint,
            otlp_token_file=wiring.tokens / OTLP_TOKEN_FILE,
            otlp_ca_file=wiring.otlp_ca_file,
            interval_s=spec.telemetry.interval_s,
            resource={"service.name": service.metadata.name, **wiring.resource},
        ),
    )


def _hbm(spec: ServiceSpec) -> TierBudget | None:
    bounds = _bounds(spec.kv_cache.hbm)
    if bounds is None or spec.placement.share_group is None:
        return bounds
    # On shared GPUs a runtime that starts must not take what a neighbour holds by now: the
    # operator gives it its share.
    return bounds.model_copy(update={"initial": bounds.min})


def _bounds(tier: TierSpec | None) -> TierBudget | None:
    if tier is None:
        return None
    return TierBudget(min=tier.min, max=tier.max, initial=tier.initial)


def config_json(config: RuntimeConfig) -> str:
    """Return ``config`` as JSON without what is default anyway.

    A default that a later version adds must not make an unchanged service look changed.
    """
    data = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return json.dumps({"version": config.version, **data}, indent=2, sort_keys=True)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read (mode 0600)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def write_config(
    service: SuperInferService, wiring: Wiring, admin_token: str, otlp_token: str
) -> Path:
    """Write the runtime's files to ``wiring.tokens`` and return the path of its configuration."""
    write_private(wiring.tokens / ADMIN_TOKEN_FILE, admin_token)
    write_private(wiring.tokens / OTLP_TOKEN_FILE, otlp_token)
    path = wiring.tokens / CONFIG_FILE
    write_private(path, config_json(runtime_config(service, wiring)))
    return path
