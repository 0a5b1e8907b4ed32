"""One request while it is served: vLLM's counters, and the times of its tokens.

The attributes carry the names of `vllm.v1.request.Request`, because the code that turns vLLM's
requests into the policy's candidates (`engine/requests`) serves the simulator as well.
"""

from collections.abc import MutableMapping
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from superinfer_contract.slo import SloClass

from superinfer_runtime.engine.requests import SLO_CLASS_ARG
from superinfer_runtime.sim.request import SimRecord, SimRequest


class Where(Enum):
    """Which container of the scheduler holds a request."""

    WAITING = auto()
    RUNNING = auto()
    PARKED = auto()
    """Its KV is in DRAM, or on its way there."""
    LOADING = auto()
    """It holds HBM blocks and its KV is on its way into them, or has just arrived."""
    DONE = auto()


@lru_cache(maxsize=1024)
def _to_a_tenth_of_a_ms(gap_s: float) -> float:
    """Remembered, because all requests of a step mostly share one gap."""
    return round(gap_s, 4)


class _SamplingParams:
    """What `RequestTable` reads of vLLM's."""

    def __init__(self, slo_class: str) -> None:
        self.extra_args = {SLO_CLASS_ARG: slo_class}


class LiveRequest:
    """See the module's text. Lengths are in tokens, times in seconds."""

    __slots__ = (
        "arrival_s",
        "blocks",
        "cached_tokens",
        "content",
        "end_tokens",
        "first_token_s",
        "gap_counts",
        "is_prefill_chunk",
        "keys",
        "last_sched_seq",
        "last_token_s",
        "late_gaps",
        "max_gap_s",
        "max_tokens",
        "num_cached_blocks",
        "num_computed_tokens",
        "num_in_flight_tokens",
        "num_output_placeholders",
        "num_prompt_tokens",
        "num_tokens",
        "pooling_params",
        "recomputes",
        "request",
        "request_id",
        "resumable",
        "rotations",
        "sampling_params",
        "slo_class",
        "tbt_s",
        "where",
    )

    def __init__(
        self,
        request: SimRequest,
        arrival_s: float,
        max_model_len: int,
        slo_class: SloClass,
        gap_counts: MutableMapping[float, int],
    ) -> None:
        prompt = request.prompt_tokens
        self.request = request
        self.request_id = request.request_id
        self.content = request.content
        self.arrival_s = arrival_s
        self.num_prompt_tokens = prompt
        self.num_tokens = prompt
        """Prompt and output so far."""
        room = max_model_len - prompt
        self.max_tokens = room if request.max_tokens is None else min(request.max_tokens, room)
        self.end_tokens = prompt + min(request.output_tokens, self.max_tokens)
        """It stops here; the scheduler must not look at it."""
        self.num_computed_tokens = 0
        self.num_output_placeholders = 0
        self.num_in_flight_tokens = 0
        self.is_prefill_chunk = False
        self.last_sched_seq = 0
        self.blocks: list[int] = []
        self.keys: list[Any] = []
        """Names of its full blocks as far as they were asked for."""
        self.num_cached_blocks = 0
        """Leading blocks that the prefix cache knows, or need not."""
        self.where = Where.WAITING
        self.sampling_params = _SamplingParams(slo_class.name)
        self.pooling_params = None
        self.resumable = False
        self.slo_class = slo_class.name
        self.tbt_s = slo_class.tbt_s
        self.gap_counts = gap_counts
        self.first_token_s = -1.0
        self.last_token_s = 0.0
        self.max_gap_s = 0.0
        self.late_gaps = 0
        self.cached_tokens = 0
        self.rotations = 0
        self.recomputes = 0

    def add_token(self, now_s: float) -> bool:
        """Note a token of the output; return whether it was the last one."""
        self.num_tokens += 1
        if self.first_token_s < 0.0:
            self.first_token_s = now_s
        else:
            gap_s = now_s - self.last_token_s
            rounded_s = _to_a_tenth_of_a_ms(gap_s)
            self.gap_counts[rounded_s] = self.gap_counts.get(rounded_s, 0) + 1
            if gap_s > self.tbt_s:
                self.late_gaps += 1
            if gap_s > self.max_gap_s:
                self.max_gap_s = gap_s
        self.last_token_s = now_s
        return self.num_tokens >= self.end_tokens

    def extend_keys(self, num_blocks: int, block_size: int) -> None:
        """Name the first ``num_blocks`` blocks, which must be full of known tokens."""
        content = self.content
        assert content is not None
        for index in range(len(self.keys), num_blocks):
            self.keys.append(content.block_key(index, block_size))

    def record(self) -> SimRecord:
        """Its life; call when it is done."""
        return SimRecord(
            request_id=self.request_id,
            slo_class=self.slo_class,
            arrival_s=self.arrival_s,
            prompt_tokens=self.num_prompt_tokens,
            output_tokens=self.num_tokens - self.num_prompt_tokens,
            first_token_s=self.first_token_s,
            finish_s=self.last_token_s,
            max_gap_s=self.max_gap_s,
            late_gaps=self.late_gaps,
            cached_tokens=self.cached_tokens,
            rotations=self.rotations,
            recomputes=self.recomputes,
        )
