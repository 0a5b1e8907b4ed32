"""The tokens of one answer and when each arrived, as the engine's client yields them.

Tokens that come together reached the client together: the gaps between them are 0, as in
`superinfer bench`. An answer shorter than planned is a failure, never a fast success.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from superinfer_runtime.bench.record import Failure, Served

HUNG_UP = Failure("the client hung up, as planned")


@dataclass(slots=True)
class Answer:
    """Times are seconds since the start of the run."""

    arrivals_s: list[float] = field(default_factory=list)
    """One a token."""
    token_ids: list[int] = field(default_factory=list)

    def add(self, token_ids: Sequence[int], now_s: float) -> None:
        self.arrivals_s += [now_s] * len(token_ids)
        self.token_ids += token_ids

    def outcome(self, input_tokens: int, output_tokens: int) -> Served | Failure:
        """What became of a request of these lengths, now that its stream has ended."""
        arrivals_s = self.arrivals_s
        if len(arrivals_s) != output_tokens:
            return Failure(f"{len(arrivals_s)} of {output_tokens} tokens")
        gaps_s = tuple(later - earlier for earlier, later in pairwise(arrivals_s))
        return Served(
            first_token_s=arrivals_s[0],
            tbt_s=sum(gaps_s) / len(gaps_s) if gaps_s else None,
            gaps_s=gaps_s,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )
