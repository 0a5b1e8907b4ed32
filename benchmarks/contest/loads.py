"""The workloads of a contest: the simulator's shapes, as plans that every engine gets alike.

A plan follows from workload, rate, seconds and seed alone. Its n-th request has the same class and
lengths at every rate. Prompts are random token ids, different in each run of an engine's life, so
that no prefix cache and no DRAM cache ever holds what is asked.

*hang-ups* is short, with one client in five hanging up somewhere in its answer: what an engine must
survive for long, rather than be fast at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from contest.setup import Run, Setup
from superinfer_runtime.bench.slo_mix import PAPER_MIX, LoadClass
from superinfer_runtime.bench.trace_file import read_trace
from superinfer_runtime.bench.traces import Trace, TraceError
from superinfer_runtime.bench.workload import PlannedRequest, Workload, plan
from superinfer_runtime.sim.workload.lengths import Lognormal, LognormalLengths
from superinfer_runtime.sim.workload.shapes import CHAT_AND_BATCH, SHORT_CHAT, SUMMARIES

REASONING = LognormalLengths(
    "reasoning, 2k", Lognormal(200, 1.0, most=2_000), Lognormal(2_000, 0.5, most=6_000)
)
"""Shorter than the simulator's (3,000 on average), so that a run of some minutes sees them end."""
SHAREGPT_FILE = "sharegpt-arxiv-lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv"
FIRST_TOKEN_ID = 10


@dataclass(frozen=True, slots=True)
class Load:
    """Which classes come in which shares, and the lengths of each by its name."""

    classes: tuple[LoadClass, ...]
    lengths: Mapping[str, Trace]
    hang_up_share: float = 0.0
    """Of requests whose client goes away before its answer ends."""


WORKLOADS = ("short", "reasoning", "sharegpt", "two-classes", "hang-ups")


def load_named(workload: str, traces: str | None) -> Load:
    """One of `WORKLOADS`.

    Raises:
        TraceError: the recorded lengths that it needs are not there.
        KeyError: there is no such workload.
    """
    if workload == "sharegpt":
        if traces is None:
            raise TraceError(f"sharegpt needs {SHAREGPT_FILE}: name the traces' folder (--traces)")
        return Load(PAPER_MIX, {"default": read_trace(Path(traces) / SHAREGPT_FILE)})
    return {
        "short": Load(PAPER_MIX, {"default": SHORT_CHAT}),
        "reasoning": Load(PAPER_MIX, {"default": REASONING}),
        "hang-ups": Load(PAPER_MIX, {"default": SHORT_CHAT}, hang_up_share=0.2),
        "two-classes": Load(CHAT_AND_BATCH, {"chat": SHORT_CHAT, "batch": SUMMARIES}),
    }[workload]


def planned(
    load: Load, run: Run, setup: Setup, max_model_tokens: int
) -> tuple[PlannedRequest, ...]:
    """Every request of a run, in order of arrival; cut so that each fits the model."""
    requests = plan(
        Workload(
            seed=setup.seed,
            duration_s=setup.seconds,
            request_rate=run.rate,
            classes=load.classes,
        )
    )
    lengths = {name: source.lengths(setup.seed) for name, source in load.lengths.items()}
    most = max_model_tokens // 2
    sized = []
    for request in requests:
        input_tokens, output_tokens = next(lengths[request.slo_class.name])
        sized.append(
            replace(
                request,
                input_tokens=min(input_tokens, most),
                output_tokens=min(output_tokens, most),
            )
        )
    return tuple(sized)


def hang_ups(load: Load, requests: Sequence[PlannedRequest], seed: int) -> dict[int, int]:
    """By index of each request whose client goes away: after how many tokens it does."""
    rng = Random(f"{seed}/hang-ups")
    gone: dict[int, int] = {}
    for request in requests:
        if rng.random() < load.hang_up_share and request.output_tokens > 1:
            gone[request.index] = rng.randrange(1, request.output_tokens)
    return gone


def prompts(
    requests: Sequence[PlannedRequest], run: Run, seed: int, vocabulary: int
) -> list[list[int]]:
    """The token ids of each request, by its index."""
    ids = range(FIRST_TOKEN_ID, vocabulary)
    rng = Random(f"{seed}/prompts/{run.workload}/{run.rate}")
    return [rng.choices(ids, k=request.input_tokens) for request in requests]


def all_classes(workloads: Sequence[str], traces: str | None) -> tuple[LoadClass, ...]:
    """The classes of these workloads, each once, the paper's default first."""
    named = {load_class.name: load_class for load_class in PAPER_MIX}
    for workload in workloads:
        named |= {one.name: one for one in load_named(workload, traces).classes}
    return tuple(named.values())
