"""What all engines of a contest share, and the runs that each of them does.

Whatever could favour an engine stands here once, and reaches every engine unchanged. Plain data: it
crosses to the engine's process as JSON.
"""

from dataclasses import asdict, dataclass
from typing import Any

ENGINES = ("stock", "stock-offload", "released", "rotasched")
MAX_MODEL_TOKENS = 16_384
"""Longest request; half of it at most is prompt."""
STEPS_FILE_VARIABLE = "CONTEST_STEPS"
"""Environment variable: where a scheduler with a watch writes its steps."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Sizes in tokens unless named otherwise."""

    model: str
    kv_tokens: int
    """Room for KV in HBM."""
    tier: str
    """Where our engines put rotated KV; stock vLLM offloads to DRAM whatever it says."""
    dram_gib: float
    seconds: float
    """How long load is offered."""
    drain_s: float
    """How long after it unfinished requests may go on."""
    seed: int
    on_gpu: bool
    block_size: int | None = None
    """None: each engine's own, see `contest.engines`."""
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    traces: str | None = None
    time_scheduler: bool = False
    """Whether schedulers carry a watch; see `contest.timed_schedulers`."""
    spot_checks: int = 0
    """How many answers of a run are compared with the idle engine's; see `contest.spot_check`."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load at one rate, in requests a second."""

    workload: str
    rate: float


@dataclass(frozen=True, slots=True)
class Job:
    """One life of one engine: the runs that it is to do, one after the other."""

    engine: str
    setup: Setup
    runs: tuple[Run, ...]
    stop_at_s: float
    """Wall-clock time after which nothing may go on; a run that might is not begun."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        return cls(
            data["engine"],
            Setup(**data["setup"]),
            tuple(Run(**run) for run in data["runs"]),
            data["stop_at_s"],
        )


def parse_rates(text: str) -> dict[str, tuple[float, ...]]:
    """Read ``short=4,8;reasoning=1,2``: rates by workload, rising.

    Raises:
        ValueError: not of that form, or a rate that is not above 0.
    """
    rates: dict[str, tuple[float, ...]] = {}
    for part in text.split(";"):
        workload, equals, listed = part.partition("=")
        if not equals:
            raise ValueError(f"rates {part!r} are not WORKLOAD=RATE,RATE")
        values = sorted({float(rate) for rate in listed.split(",")})
        if values[0] <= 0:
            raise ValueError(f"rates of {workload} must be above 0")
        rates[workload.strip()] = tuple(values)
    return rates
