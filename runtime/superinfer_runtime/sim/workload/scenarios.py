"""The standard workloads of the evaluation, by name: some made up, some recorded.

Every scenario takes its rate in requests a second, so that a search can turn one knob.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from superinfer_contract.slo import SloClass

from superinfer_runtime.bench.slo_mix import PAPER_MIX
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.loads import (
    DrawnLoad,
    Recording,
    ReplayedLoad,
    sessions,
    two_classes,
)
from superinfer_runtime.sim.workload.planned import slo_classes_of
from superinfer_runtime.sim.workload.shapes import (
    CHAT_AND_BATCH,
    CONTEXT_TOKENS,
    MOONCAKE_MIX,
    REASONING,
    SHORT_CHAT,
)

Make = Callable[[float, float, int], tuple[SimRequest, ...]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named workload.

    ``make(rate_per_s, duration_s, seed)`` gives its requests in order of arrival. It raises
    `TraceError` where the recorded file it needs is absent or broken, and ValueError for a rate or
    a duration that leaves no request. ``classes`` judge the requests, the default one first.
    """

    name: str
    description: str
    make: Make
    classes: tuple[SloClass, ...] = slo_classes_of(PAPER_MIX)


def scenarios(traces: Path | None = None) -> dict[str, Scenario]:
    """All scenarios by name; ``traces`` is the folder of the recorded files, read when needed."""
    azure = Recording(traces, "azure-llm-2023/AzureLLMInferenceTrace_conv.csv")
    sharegpt = Recording(
        traces, "sharegpt-arxiv-lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv"
    )
    mooncake = Recording(traces, "mooncake-fast25/synthetic_trace.jsonl")
    servegen = Recording(traces, "servegen-deepseek-r1")
    return {
        scenario.name: scenario
        for scenario in (
            Scenario(
                "short-chat",
                "made up: single-turn chat, 222 tokens in and 396 out on average; Poisson",
                DrawnLoad(SHORT_CHAT),
            ),
            Scenario(
                "bursty",
                "made up: short-chat with Gamma arrivals of shape 0.25 (gaps' CV 2)",
                DrawnLoad(SHORT_CHAT, burstiness=0.25),
            ),
            Scenario(
                "reasoning",
                "made up: short prompts, answers of about 3,000 tokens on average; Poisson",
                DrawnLoad(REASONING),
            ),
            Scenario(
                "two-classes",
                "made up: 70 % chat (1 s, 0.1 s), 30 % long-prompt batch (30 s, 1 s); Poisson",
                two_classes,
                slo_classes_of(CHAT_AND_BATCH),
            ),
            Scenario(
                "sessions",
                "made up: conversations of about 4 turns that share their prefix; Poisson",
                sessions,
            ),
            Scenario(
                "sharegpt",
                "ShareGPT lengths, history counted in the prompt (no prefix shared); Poisson",
                DrawnLoad(sharegpt),
            ),
            Scenario(
                "azure-conv",
                "Azure conversations of 2023 with their own arrivals, from the trace's start",
                ReplayedLoad(azure),
            ),
            Scenario(
                "mooncake",
                "Mooncake's synthetic trace: long prompts with shared prefixes, cut to 31k tokens",
                ReplayedLoad(mooncake, CONTEXT_TOKENS - 1_024, 1_024),
                slo_classes_of(MOONCAKE_MIX),
            ),
            Scenario(
                "servegen",
                "12 clients of ServeGen's deepseek-r1, drawn from their distributions, with their "
                "own bursts",
                ReplayedLoad(servegen),
            ),
        )
    }
