"""From vLLM's requests to the policy's candidates.

One `Tracked` a request joins what each side knows. ``refresh_running`` is what makes the policy's
view of a running request true at the start of an iteration.

A request counts with all blocks that it will ask for within the growth horizon, from the moment
that it wants in: whoever is admitted brings the room for its own growth, and those already running
keep theirs. No count exceeds the request's whole length, so one that fits when alone gets in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from superinfer_contract.slo import SloClass

from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.rotasched import blocks_ahead

SLO_CLASS_ARG = "slo_class"
SLO_TTFT_ARG = "slo_ttft_s"
SLO_TBT_ARG = "slo_tbt_s"


@dataclass(slots=True, eq=False)
class Tracked:
    """A live request: vLLM's object, the policy's candidate, its class."""

    request: Any
    candidate: Candidate
    slo_class: str
    saved_tokens: int = 0
    """While rotated out: tokens whose KV is kept."""


class RequestTable:
    """All live requests by id.

    ``max_model_len`` may be left out where no request's ``max_tokens`` goes beyond it.
    """

    def __init__(
        self, config: EngineConfig, block_size: int, max_model_len: int | None = None
    ) -> None:
        self._classes: dict[str, SloClass] = {c.name: c for c in config.slo_classes}
        self._reference = config.default_class
        self._block_size = block_size
        self._max_model_len = max_model_len
        self._horizon_steps = config.scheduler.growth_horizon_steps
        self._tracked: dict[str, Tracked] = {}

    @property
    def by_id(self) -> Mapping[str, Tracked]:
        """For loops over all requests, which cannot afford a call for each."""
        return self._tracked

    def __getitem__(self, request_id: str) -> Tracked:
        return self._tracked[request_id]

    def get(self, request_id: str) -> Tracked | None:
        return self._tracked.get(request_id)

    def __len__(self) -> int:
        return len(self._tracked)

    def add(self, request: Any, arrival_s: float) -> Tracked:
        """Track a new request; its objectives are its class's unless it carries its own."""
        params = request.sampling_params
        arguments = (params.extra_args or {}) if params is not None else {}
        slo_class = self._classes.get(str(arguments.get(SLO_CLASS_ARG)), self._reference)
        targets = Targets.of(
            slo_class,
            self._reference,
            ttft_s=_positive(arguments.get(SLO_TTFT_ARG)),
            tbt_s=_positive(arguments.get(SLO_TBT_ARG)),
        )
        candidate = Candidate(
            request.request_id,
            targets,
            arrival_s,
            max_tokens=request.max_tokens or 1,
            slo_class=slo_class.name,
        )
        tracked = Tracked(request, candidate, slo_class.name)
        self._tracked[request.request_id] = tracked
        self.refresh_waiting(tracked)
        return tracked

    def pop(self, request_id: str) -> Tracked | None:
        """Forget a request that ended."""
        return self._tracked.pop(request_id, None)

    def refresh_waiting(self, tracked: Tracked) -> None:
        """It has no KV: it needs blocks for all its tokens and its growth."""
        tracked.candidate.blocks = self._blocks_ahead(tracked, tracked.request.num_tokens)
        tracked.candidate.rotatable = False

    def refresh_rotary(self, tracked: Tracked) -> None:
        """Its KV is in DRAM: it needs blocks for the saved tokens and its growth."""
        tracked.candidate.blocks = self._blocks_ahead(tracked, tracked.saved_tokens)
        tracked.candidate.dram_blocks = -(-tracked.saved_tokens // self._block_size)
        tracked.candidate.rotatable = False

    def refresh_running(self, tracked: Tracked, num_held: int, num_unmirrored: int) -> int:
        """Bring a running request up to date; return the blocks that its growth will ask for.

        Args:
            num_held: HBM blocks that it holds.
            num_unmirrored: DRAM slots that rotating it out would take.
        """
        request = tracked.request
        candidate = tracked.candidate
        candidate.blocks = num_held
        candidate.dram_blocks = num_unmirrored
        num_computed = request.num_computed_tokens
        steps_left = self._end_tokens(tracked) - num_computed
        candidate.rotatable = (
            not request.is_prefill_chunk
            and num_computed >= request.num_prompt_tokens
            # Nearly done: its blocks come free anyway, and all its growth is kept free already.
            and steps_left > self._horizon_steps
            and not request.resumable
            and request.pooling_params is None
        )
        coming = self._blocks_ahead(tracked, max(num_computed, request.num_tokens))
        return max(coming - num_held, 0)

    def most_growth(self, num_decoding: int) -> int:
        """The most that `refresh_running` can return in all for so many that decode.

        Each holds blocks for what is computed of it, which is all but its next token.
        """
        return num_decoding * -(-(1 + self._horizon_steps) // self._block_size)

    def _blocks_ahead(self, tracked: Tracked, num_tokens: int) -> int:
        return blocks_ahead(
            num_tokens, self._end_tokens(tracked), self._horizon_steps, self._block_size
        )

    def _end_tokens(self, tracked: Tracked) -> int:
        """Its length when it has all the tokens that it may have."""
        end_tokens: int = tracked.request.num_prompt_tokens + tracked.request.max_tokens
        limit = self._max_model_len
        return end_tokens if limit is None else min(end_tokens, limit)


def _positive(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return None
