"""How a load is made: from drawn lengths, from a recording, or turn by turn.

Each is a callable of rate (requests a second), duration (seconds) and seed. The rate leaves the
n-th request's lengths alone. All can be pickled, for runs in many processes.
"""

from dataclasses import dataclass
from pathlib import Path

from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.traces import Trace, TraceError
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.planned import requests_of, with_lengths
from superinfer_runtime.sim.workload.replay import at_rate, open_trace
from superinfer_runtime.sim.workload.sessions import session_requests
from superinfer_runtime.sim.workload.shapes import (
    CHAT_AND_BATCH,
    CONTEXT_TOKENS,
    SESSIONS,
    SHORT_CHAT,
    SUMMARIES,
)


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded trace that is read when first needed."""

    folder: Path | None
    file: str

    def open(self) -> Trace:
        """Raises `TraceError` where it is absent or broken."""
        if self.folder is None:
            raise TraceError(
                f"the recorded trace {self.file} is needed: name the traces' folder "
                "(--traces or SUPERINFER_TRACES)"
            )
        return open_trace(self.folder / self.file)


@dataclass(frozen=True, slots=True)
class DrawnLoad:
    """Lengths drawn from ``lengths``; independent Gamma gaps, Poisson at burstiness 1."""

    lengths: Trace | Recording
    burstiness: float = 1.0

    def __call__(self, rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
        lengths = self.lengths
        return requests_of(
            Workload(
                seed=seed,
                duration_s=duration_s,
                process=ArrivalProcess.GAMMA,
                request_rate=rate_per_s,
                burstiness=self.burstiness,
                trace=lengths.open() if isinstance(lengths, Recording) else lengths,
            )
        )


@dataclass(frozen=True, slots=True)
class ReplayedLoad:
    """A recording from its start, at the rate asked for; see `at_rate`."""

    recording: Recording
    max_input_tokens: int = CONTEXT_TOKENS // 2
    max_output_tokens: int = CONTEXT_TOKENS // 2

    def __call__(self, rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
        own_pace = Workload(
            seed=seed,
            duration_s=duration_s,
            trace=self.recording.open(),
            max_input_tokens=self.max_input_tokens,
            max_output_tokens=self.max_output_tokens,
        )
        return requests_of(at_rate(own_pace, rate_per_s))


def two_classes(rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
    """Chat and batch work in one stream of Poisson arrivals, each with lengths of its own."""
    mixed = Workload(
        seed=seed, duration_s=duration_s, request_rate=rate_per_s, classes=CHAT_AND_BATCH
    )
    return with_lengths(requests_of(mixed), {"chat": SHORT_CHAT, "batch": SUMMARIES}, seed)


def sessions(rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
    """``rate_per_s`` counts all turns, once the first sessions have come to their last."""
    return session_requests(
        SESSIONS,
        sessions_per_s=rate_per_s / SESSIONS.turns.mean,
        duration_s=duration_s,
        seed=seed,
    )
