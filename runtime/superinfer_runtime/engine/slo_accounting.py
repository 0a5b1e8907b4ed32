"""Judging requests against their objectives, where class and times are known.

TTFT is counted when the first token is produced, TBT and the joint objective when the request ends.
A request that its client gave up on is judged only on what it had already missed.
"""

from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.telemetry.snapshot import FinishSample, TtftSample


class SloAccounting:
    """Collects samples until the next snapshot takes them. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._ttft: list[TtftSample] = []
        self._finished: list[FinishSample] = []

    def first_token(self, candidate: Candidate, slo_class: str, now_s: float) -> None:
        """The request's first token was produced at ``now_s``."""
        ttft_s = now_s - candidate.arrival_s
        self._ttft.append(TtftSample(slo_class, ttft_s, ttft_s <= candidate.targets.ttft_s))

    def finished(self, candidate: Candidate, slo_class: str) -> None:
        """The request produced its last token (already recorded in ``candidate``)."""
        first_s = candidate.first_token_s
        if first_s is None:  # ended without a token: an error before the first step
            return
        gaps = candidate.num_tokens - 1
        tbt_s = (candidate.last_token_s - first_s) / gaps if gaps > 0 else None
        tbt_good = tbt_s is None or tbt_s <= candidate.targets.tbt_s
        ttft_good = first_s - candidate.arrival_s <= candidate.targets.ttft_s
        duration_s = candidate.last_token_s - candidate.arrival_s
        self._finished.append(
            FinishSample(slo_class, tbt_s, duration_s, tbt_good, tbt_good and ttft_good)
        )

    def aborted(self, candidate: Candidate, slo_class: str, now_s: float) -> None:
        """The client went away: count what was missed by then, and nothing else."""
        waited_s = now_s - candidate.arrival_s
        if candidate.first_token_s is None and waited_s > candidate.targets.ttft_s:
            self._ttft.append(TtftSample(slo_class, waited_s, good=False))

    def take(self) -> tuple[tuple[TtftSample, ...], tuple[FinishSample, ...]]:
        """Return the samples since the last call."""
        samples = tuple(self._ttft), tuple(self._finished)
        self._ttft, self._finished = [], []
        return samples
