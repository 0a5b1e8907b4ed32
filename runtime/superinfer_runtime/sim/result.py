"""What one simulated run did: every request's record, and what the engine counted meanwhile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.request import SimRecord


@dataclass(frozen=True, slots=True)
class StepSpan:
    """One engine step, for timelines."""

    start_s: float
    end_s: float
    num_decodes: int
    num_prefill_tokens: int
    num_running: int
    num_waiting: int
    num_rotary: int
    used_hbm_blocks: int


@dataclass(frozen=True, slots=True)
class CopySpan:
    """One finished copy job on the link, for timelines."""

    start_s: float
    end_s: float
    out: bool
    num_bytes: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of one policy over one workload on one replica."""

    policy: str
    classes: tuple[SloClass, ...]
    records: Sequence[SimRecord]
    """In order of finishing; every request of the workload is there."""
    gap_counts: Mapping[str, Mapping[float, int]]
    """By class: gap between two tokens of a request in seconds (rounded to 0.1 ms) -> count."""
    makespan_s: float
    """From the first arrival to the last token."""
    num_steps: int
    computed_prompt_tokens: int
    """Prompt tokens computed, recomputation among them."""
    bytes_out: int
    bytes_in: int
    """KV moved to and from DRAM; mirrors count as out."""
    rotations: int
    stalls: int
    """Rotations wanted for which DRAM had no room."""
    recomputes: int
    peak_dram_blocks: int
    peak_hbm_blocks: int
    hbm_blocks: int
    dram_blocks: int
    steps: Sequence[StepSpan] = ()
    """Only where a timeline was asked for."""
    copies: Sequence[CopySpan] = ()
