"""Triage: which waiting requests to let go when not all of them can have their first token in time.

Prompts are computed one after the other, earliest deadline first. When that makes one late, the
longest prompt so far is let go, and all behind it gain its time: the fewest requests are late then
(Moore and Hodgson's algorithm, 1968, which is optimal for this). Whoever is let go is not refused:
it is *relegated* (`policy/lag`), and looked at anew in the next iteration.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from superinfer_runtime.policy.candidate import Candidate

LEAD_STEPS = 2.0
"""Steps from a decision to its first token beside the prompt's share: the one in flight and one."""


@dataclass(frozen=True, slots=True)
class PrefillPace:
    """How fast prompts are computed now."""

    step_s: float = 0.0
    block_s: float = 0.0
    """Seconds to compute a KV block's worth of prompt beside the running decodes."""


UNKNOWN_PACE = PrefillPace()
"""With it only those already late are let go."""


def ttft_deadline_s(candidate: Candidate) -> float:
    """When the first token is due."""
    return candidate.arrival_s + candidate.targets.ttft_s


def let_go(waiting: Sequence[Candidate], now_s: float, pace: PrefillPace) -> set[int]:
    """Return the `id` of each waiting request whose first token would be late."""
    gone: set[int] = set()
    kept: list[tuple[float, int, Candidate]] = []
    start_s = now_s + LEAD_STEPS * pace.step_s
    end_s = start_s
    queue = [c for c in waiting if c.first_token_s is None]
    queue.sort(key=ttft_deadline_s)
    for order, candidate in enumerate(queue):
        due_s = ttft_deadline_s(candidate)
        cost_s = pace.block_s * candidate.blocks
        if start_s + cost_s > due_s:
            gone.add(id(candidate))
            continue
        end_s += cost_s
        heapq.heappush(kept, (-cost_s, order, candidate))
        if end_s > due_s:
            negative_cost_s, _, longest = heapq.heappop(kept)
            end_s += negative_cost_s
            gone.add(id(longest))
    return gone
