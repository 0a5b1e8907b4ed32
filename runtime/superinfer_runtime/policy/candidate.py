"""What the policy knows of one request.

The owner (vLLM's scheduler, or a simulator) keeps one `Candidate` a request and updates it in place
as tokens arrive; the policy only reads. Times are seconds on any one monotonic clock.
"""

from dataclasses import dataclass

from superinfer_contract.slo import SloClass


@dataclass(frozen=True, slots=True)
class Targets:
    """One request's objectives, and what a second of its lag weighs.

    The urgencies normalise lag: a second of lag is worth ``weight x reference / own target``
    reference seconds, so a class with a tighter target ages faster (`policy/lag` says where). The
    service's default class is the reference; with one class of weight 1 both are 1 and lag is the
    paper's.
    """

    ttft_s: float
    tbt_s: float
    ttft_urgency: float = 1.0
    tbt_urgency: float = 1.0

    @classmethod
    def of(
        cls,
        slo_class: SloClass,
        reference: SloClass,
        ttft_s: float | None = None,
        tbt_s: float | None = None,
    ) -> "Targets":
        """Targets of ``slo_class``, optionally overridden for one request."""
        own_ttft_s = slo_class.ttft_s if ttft_s is None else ttft_s
        own_tbt_s = slo_class.tbt_s if tbt_s is None else tbt_s
        return cls(
            ttft_s=own_ttft_s,
            tbt_s=own_tbt_s,
            ttft_urgency=slo_class.weight * reference.ttft_s / own_ttft_s,
            tbt_urgency=slo_class.weight * reference.tbt_s / own_tbt_s,
        )


@dataclass(slots=True, eq=False)
class Candidate:
    """One request. Compared by identity: two requests are never the same candidate."""

    request_id: str
    targets: Targets
    arrival_s: float
    blocks: int = 0
    """Waiting, rotary: HBM blocks it needs to run. Running: HBM blocks that rotating out frees."""
    dram_blocks: int = 0
    """Running: DRAM slots that rotating out takes beyond those it has (unmirrored blocks). Rotary:
    DRAM slots that it holds."""
    max_tokens: int = 1
    num_tokens: int = 0
    """Output tokens so far."""
    first_token_s: float | None = None
    last_token_s: float = 0.0
    run_start_s: float = 0.0
    """Start of the current stint in HBM."""
    slo_class: str = ""
    over_share: bool = False
    """Running: beyond what its class may hold of HBM."""
    rotatable: bool = False
    """Running and decoding, with nothing that ties its KV to HBM."""

    def record_tokens(self, count: int, now_s: float) -> None:
        """Note that ``count`` output tokens arrived at ``now_s``."""
        if self.first_token_s is None:
            self.first_token_s = now_s
        self.num_tokens += count
        self.last_token_s = now_s

    def ahead_s(self, now_s: float) -> float:
        """How long it could pause at ``now_s`` before its mean TBT exceeds the target.

        Token k after the first is due ``first + k x TBT``; negative when it is behind.
        """
        if self.first_token_s is None:
            return 0.0
        return self.first_token_s + self.num_tokens * self.targets.tbt_s - now_s
