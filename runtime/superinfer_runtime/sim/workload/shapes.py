"""Lengths, times and objectives of the made-up workloads, and where each number comes from.

What names no source is assumed: a shape to compare policies on, not a measurement of users.
"""

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.sim.workload.lengths import Lognormal, LognormalLengths
from superinfer_runtime.sim.workload.sessions import SessionShape

CONTEXT_TOKENS = 32_768
"""No request of a standard workload is longer: Qwen2.5's context without YaRN."""

SHORT_CHAT = LognormalLengths(
    "short chat", Lognormal(222, 1.0, most=2_000), Lognormal(396, 0.8, most=2_000)
)
"""Means of the load that stock vLLM 0.26 was measured under on an H200, in the manner of
SuperInfer's single-turn chat sets; spreads assumed."""

REASONING = LognormalLengths(
    "reasoning", Lognormal(200, 1.0, most=2_000), Lognormal(3_000, 0.8, most=16_384)
)
"""Means assumed. The answers' standard deviation is 0.9 of their mean, as over the first two hours
of ServeGen's deepseek-r1 clients (0.92)."""

SUMMARIES = LognormalLengths(
    "summaries", Lognormal(2_000, 0.6, most=16_000), Lognormal(200, 0.6, most=2_000)
)
"""Batch work of long prompts and short answers: assumed."""

SESSIONS = SessionShape(
    turns=Lognormal(4, 0.8, most=20),
    opening=SHORT_CHAT,
    follow_up=LognormalLengths(
        "follow-up", Lognormal(100, 1.0, most=2_000), SHORT_CHAT.output_tokens
    ),
    think_s=Lognormal(20, 1.0, most=300),
    max_context_tokens=CONTEXT_TOKENS,
)
"""Turns, follow-ups and think times assumed."""

CHAT_AND_BATCH = (LoadClass("chat", 0.7, 1.0, 0.1), LoadClass("batch", 0.3, 30.0, 1.0))
"""Shares and objectives assumed: someone reads along, or nobody waits."""

MOONCAKE_MIX = (LoadClass("default", 1.0, 30.0, 0.2),)
"""Limits of the Mooncake paper (FAST 2025): TTFT 30 s; TBT 0.1, 0.2 or 0.3 s, of which the middle.
5 s would be less than the prefill of many a prompt of that trace takes on an idle GPU."""
