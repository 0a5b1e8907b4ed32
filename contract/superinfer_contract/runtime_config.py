"""RuntimeConfig v1: the one file that tells a runtime what to serve and within what bounds.

The operator writes it (a ConfigMap, or a temporary file on one box); `superinfer serve --config`
reads it. Unknown fields are refused, so a typing error never passes silently.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, model_validator

from superinfer_contract.quantity import ByteQuantity
from superinfer_contract.slo import SloClassList

STRICT = ConfigDict(frozen=True, extra="forbid")
MAX_BODY_BYTES = 128 * 2**20
"""Room for images inside a chat."""
MAX_CONCURRENT_REQUESTS = 4096


class TierBudget(BaseModel):
    """Bounds of one KV memory tier; ``initial`` defaults to ``max``."""

    model_config = STRICT

    min: ByteQuantity = Field(default=0, description="the budget never shrinks below")
    max: ByteQuantity = Field(gt=0, description="the budget never grows beyond")
    initial: ByteQuantity | None = Field(
        default=None, description="the budget at start; max when left out"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "TierBudget":
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        if self.initial is not None and not self.min <= self.initial <= self.max:
            raise ValueError(
                f"initial ({self.initial}) must lie between min ({self.min}) and max ({self.max})"
            )
        return self

    @property
    def initial_bytes(self) -> int:
        return self.max if self.initial is None else self.initial


class KvCacheConfig(BaseModel):
    """KV memory. ``hbm`` None leaves vLLM to size it; ``dram`` None means no rotation."""

    model_config = STRICT

    hbm: TierBudget | None = Field(
        default=None, description="KV memory on the GPU; vLLM sizes it when left out"
    )
    dram: TierBudget | None = Field(
        default=TierBudget(max=4 * 2**30),
        description="memory that requests rotate to; null: no rotation",
    )
    slab: ByteQuantity = Field(
        default=2**30, gt=0, description="unit in which DRAM is taken and given back"
    )
    tier: Literal["host", "peer"] = Field(
        default="host",
        description="where rotated KV goes: pinned DRAM, or a neighbour GPU's memory over NVLink",
    )


class SchedulerKnobs(BaseModel):
    """Knobs of RotaSched; the defaults are the paper's where it has them."""

    model_config = STRICT

    alpha: float = Field(
        default=3.0, gt=0, description="a second without a token, in seconds of wait"
    )
    beta_ttft: float = Field(
        default=0.5, ge=0, le=1, description="tolerated share of the TTFT target"
    )
    beta_tbt: float = Field(default=0.0, description="tolerated multiple of the TBT target")
    tbt_credit: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of the time won by early tokens that a rotated request may sit out",
    )
    run_quantum_s: float = Field(default=0.5, ge=0, description="shortest stint in HBM")
    growth_horizon_steps: int = Field(
        default=4, ge=1, description="steps of running requests' growth to keep free"
    )
    transfer_budget_blocks: int | None = Field(
        default=None, ge=1, description="blocks moved per iteration; measured when left out"
    )
    relegate: bool = Field(
        default=True, description="serve requests last that missed or will miss their TTFT"
    )
    relegation_ageing: float = Field(
        default=0.05, gt=0, le=1, description="rate at which relegated requests age back"
    )
    guard_tbt: bool = Field(default=True, description="cap prefill per step by the tightest TBT")


class TlsConfig(BaseModel):
    """PEM files of the server's certificate; renewed ones are taken up without a restart."""

    model_config = STRICT

    certificate: Path = Field(description="the certificate with its chain")
    key: Path = Field(description="its key, without a password")


class ServerConfig(BaseModel):
    """Where the HTTP server listens, who may do what there, and how much at a time."""

    model_config = STRICT

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port of the OpenAI API")
    admin_token: SecretStr | None = Field(
        default=None, description="bearer token of /v1/kv/budget; without one, PATCH is refused"
    )
    admin_token_file: Path | None = Field(default=None, description="file with that token")
    api_key_file: Path | None = Field(
        default=None,
        description="keys of the OpenAI API, one a line, read again when the file changes; without "
        "one, everybody who can connect may ask",
    )
    tls: TlsConfig | None = Field(default=None, description="plain HTTP when left out")
    max_body: ByteQuantity = Field(
        default=MAX_BODY_BYTES, gt=0, description="largest request body; a larger one is refused"
    )
    max_concurrent_requests: int = Field(
        default=MAX_CONCURRENT_REQUESTS,
        ge=1,
        description="requests in flight, waiting ones included; those beyond are refused",
    )
    drain_s: float = Field(default=30.0, ge=0, description="time for running requests at SIGTERM")

    @model_validator(mode="after")
    def _one_token(self) -> "ServerConfig":
        if self.admin_token is not None and self.admin_token_file is not None:
            raise ValueError("give admin_token or admin_token_file, not both")
        return self


class TelemetryConfig(BaseModel):
    """OTLP push; the standard OTEL_EXPORTER_OTLP_* variables apply where a field is left out."""

    model_config = STRICT

    otlp_endpoint: str | None = Field(default=None, description="URL that telemetry is sent to")
    otlp_headers: dict[str, SecretStr] = Field(default={}, description="sent with it")
    otlp_token_file: Path | None = Field(
        default=None, description="file with the bearer token that telemetry is sent with"
    )
    otlp_ca_file: Path | None = Field(
        default=None, description="CAs that the receiver's certificate is checked against"
    )
    interval_s: float = Field(default=10.0, gt=0, description="between two reports")
    resource: dict[str, str] = Field(default={}, description="further resource attributes")


class RuntimeConfig(SloClassList):
    """Everything that one runtime needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(default=1, description="of this format")
    model: str | None = Field(
        default=None, description="path or name; None: the embedded tiny model"
    )
    policy: Literal["rotasched", "stock"] = Field(
        default="rotasched", description="stock: vLLM's own scheduler, without rotation"
    )
    engine_args: dict[str, JsonValue] = Field(
        default={}, description="vLLM engine arguments by their CLI name without the dashes"
    )
    kv_cache: KvCacheConfig = KvCacheConfig()
    scheduler: SchedulerKnobs = SchedulerKnobs()
    server: ServerConfig = ServerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
