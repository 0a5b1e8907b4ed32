"""What became of one request, and whether it kept its objectives.

All times are seconds since the start of the run. Latency counts from the *scheduled* arrival, so
a load generator or server that falls behind cannot hide the wait. A request that failed, or had not
finished when the run ended, is bad in every objective.
"""

from dataclasses import dataclass

from superinfer_runtime.bench.workload import PlannedRequest


@dataclass(frozen=True, slots=True)
class Served:
    """A finished answer; lengths in tokens.

    `tbt_s` is the mean time between tokens: the time from the first token to the last, divided by
    the tokens after the first; None for an answer of one token. `gaps_s` are the single gaps, with
    0 between tokens that came in one chunk, since they reached the client together.
    """

    first_token_s: float
    tbt_s: float | None
    gaps_s: tuple[float, ...]
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no finished answer; `status` is the HTTP status where one came."""

    message: str
    status: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the endpoint found fault with the request itself (not with its own load)."""
        return (
            self.status is not None and 400 <= self.status < 500 and self.status not in (408, 429)
        )


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that was sent."""

    request: PlannedRequest
    sent_s: float
    ended_s: float
    outcome: Served | Failure

    @property
    def send_lag_s(self) -> float:
        """How late the load generator itself was."""
        return self.sent_s - self.request.arrival_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which objectives a request kept."""

    ttft: bool
    tbt: bool

    @property
    def joint(self) -> bool:
        return self.ttft and self.tbt


def judge(record: RequestRecord) -> Verdict:
    """Hold a request against its class's targets."""
    served, slo_class = record.outcome, record.request.slo_class
    if isinstance(served, Failure):
        return Verdict(ttft=False, tbt=False)
    return Verdict(
        ttft=served.first_token_s - record.request.arrival_s <= slo_class.ttft_s,
        tbt=served.tbt_s is None or served.tbt_s <= slo_class.tbt_s,
    )
