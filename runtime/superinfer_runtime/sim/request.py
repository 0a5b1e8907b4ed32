"""What the simulator is asked to serve, and what became of it.

Times are seconds of virtual time, lengths tokens. A *content* names the tokens of a request block
by block, so that requests with a common prefix share its KV; without one nothing is shared.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


class Content(Protocol):
    """Names what stands in each KV block of a request, prompt and output alike."""

    def block_key(self, index: int, block_size: int) -> Hashable | None:
        """Equal keys mean equal tokens up to the end of block ``index``; None: shared with none."""
        ...


@dataclass(frozen=True, slots=True)
class NextTurn:
    """The request that follows when this one's answer was read."""

    think_s: float
    """From the last token of the answer to the arrival of the next request."""
    request: "SimRequest"
    """Its ``arrival_s`` is set when it arrives."""


@dataclass(frozen=True, slots=True)
class SimRequest:
    """One request. It stops after ``output_tokens``, which only an oracle knows beforehand."""

    request_id: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    slo_class: str = "default"
    max_tokens: int | None = None
    """The limit that the client asked for, all that a scheduler knows; None: the model's."""
    content: Content | None = None
    next_turn: NextTurn | None = None


@dataclass(frozen=True, slots=True)
class SimRecord:
    """The life of one finished request."""

    request_id: str
    slo_class: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    first_token_s: float
    finish_s: float
    max_gap_s: float
    """Longest gap between two tokens; 0 for a lone one."""
    late_gaps: int
    """Gaps longer than the TBT target of its class."""
    cached_tokens: int
    """Leading tokens of the prompt that the prefix cache held."""
    rotations: int
    """Times it was rotated out."""
    recomputes: int
    """Times its KV was thrown away and computed again."""

    @property
    def ttft_s(self) -> float:
        return self.first_token_s - self.arrival_s

    @property
    def tbt_s(self) -> float | None:
        """Mean gap between tokens; None for a lone token."""
        gaps = self.output_tokens - 1
        return (self.finish_s - self.first_token_s) / gaps if gaps > 0 else None
