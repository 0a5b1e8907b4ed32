"""What the scheduler tells the front end after each step, as plain data.

The scheduler runs in the engine-core process, telemetry in the API process: this crosses between
them inside vLLM's ``SchedulerStats.kv_connector_stats`` as a dict. Totals are
cumulative since start, so a lost snapshot loses nothing; only the lists of `TtftSample` and
`FinishSample` are per step.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TtftSample:
    """A request's first token arrived (or it was aborted past its TTFT target without one)."""

    slo_class: str
    ttft_s: float
    good: bool


@dataclass(frozen=True, slots=True)
class FinishSample:
    """A request ended. ``tbt_s`` is the mean gap after the first token, None for a lone token."""

    slo_class: str
    tbt_s: float | None
    duration_s: float
    tbt_good: bool
    joint_good: bool


@dataclass(frozen=True, slots=True)
class TransferTotals:
    """One direction of the link since start."""

    rotations: int = 0
    bytes: int = 0
    busy_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class LinkSnapshot:
    """What the link between HBM and DRAM can do, as calibrated at start."""

    out_bytes_per_s: float
    in_bytes_per_s: float
    duplex_bytes_per_s: float
    """Both directions at once, summed."""
    crossover_bytes: int | None = None
    """Smallest segment that copy engines move as fast as the GPU's SMs; None: one way to copy."""


@dataclass(frozen=True, slots=True)
class TierSnapshot:
    """One KV memory tier now, in bytes."""

    min_bytes: int
    max_bytes: int
    desired_bytes: int
    budget_bytes: int
    used_bytes: int
    headroom_bytes: int
    step_bytes: int


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The scheduler's state after one step."""

    rotation_off_reason: str | None
    hbm: TierSnapshot
    dram: TierSnapshot
    num_running: int = 0
    num_waiting: int = 0
    num_rotary: int = 0
    out: TransferTotals = TransferTotals()
    into: TransferTotals = TransferTotals()
    link: LinkSnapshot | None = None
    """None: not calibrated."""
    copy_failures: int = 0
    """Copy jobs that failed or got stuck since start."""
    rotation_stalls: int = 0
    recompute_preemptions: int = 0
    step_time_s: float | None = None
    max_lag_s: dict[str, float] = field(default_factory=dict)
    class_shares: dict[str, float] = field(default_factory=dict)
    """Of the HBM budget, for every class of the service."""
    ttft_samples: tuple[TtftSample, ...] = ()
    finish_samples: tuple[FinishSample, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return builtins only (dicts, lists, numbers, strings): msgpack and JSON can carry it."""
        data = _plain(self)  # once a step: dataclasses.asdict takes eight times as long
        for part in ("hbm", "dram", "out", "into"):
            data[part] = _plain(data[part])
        data["link"] = None if self.link is None else _plain(self.link)
        data["max_lag_s"] = dict(self.max_lag_s)
        data["class_shares"] = dict(self.class_shares)
        data["ttft_samples"] = tuple(_plain(sample) for sample in self.ttft_samples)
        data["finish_samples"] = tuple(_plain(sample) for sample in self.finish_samples)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "EngineSnapshot":
        """Rebuild what `to_dict` wrote, after any trip through msgpack or JSON."""
        fields = dict(data)
        fields["hbm"] = TierSnapshot(**fields["hbm"])
        fields["dram"] = TierSnapshot(**fields["dram"])
        fields["out"] = TransferTotals(**fields["out"])
        fields["into"] = TransferTotals(**fields["into"])
        if fields["link"] is not None:
            fields["link"] = LinkSnapshot(**fields["link"])
        fields["ttft_samples"] = tuple(TtftSample(**sample) for sample in fields["ttft_samples"])
        fields["finish_samples"] = tuple(
            FinishSample(**sample) for sample in fields["finish_samples"]
        )
        return cls(**fields)


def _plain(part: Any) -> dict[str, Any]:
    """One dataclass's fields by name, as they are."""
    return {name: getattr(part, name) for name in part.__slots__}
