"""How long steps take, and what that allows the next one and promises to those who wait.

vLLM's engine reports no step times to its scheduler, so they are taken from the calls: a step lasts
from its `schedule` (or the end of the step before it, where steps overlap) to its output.
"""

from collections import deque
from collections.abc import Mapping

from superinfer_runtime.policy.smoothing import smoothed
from superinfer_runtime.policy.token_budget import TokenBudgetGuard
from superinfer_runtime.policy.triage import UNKNOWN_PACE, PrefillPace


class StepClock:
    """Times are seconds on the scheduler's clock."""

    def __init__(self, max_step_tokens: int, guard_tbt: bool) -> None:
        self._max_step_tokens = max_step_tokens
        self._guard = TokenBudgetGuard() if guard_tbt else None
        self._in_flight: deque[tuple[float, int]] = deque()
        self._last_end_s = 0.0
        self._step_s: float | None = None
        self._prefill_tokens = max_step_tokens
        """What the last budget left for prompts."""

    def scheduled(self, num_scheduled_tokens: Mapping[str, int], now_s: float) -> None:
        """A step with these tokens a request was scheduled; empty ones do not count."""
        if num_scheduled_tokens:
            counts = list(num_scheduled_tokens.values())
            num_prefill = sum(counts) - counts.count(1)
            self._in_flight.append((now_s, num_prefill))

    def finished(self, now_s: float) -> float:
        """The oldest step's output is in: return how long it took, in seconds."""
        start_s, num_prefill = self._in_flight.popleft()
        step_s = now_s - max(start_s, self._last_end_s)
        self._last_end_s = now_s
        self._step_s = smoothed(self._step_s, step_s)
        if self._guard is not None:
            self._guard.record_step(step_s, num_prefill)
        return step_s

    def pace(self, block_size: int) -> PrefillPace:
        """How fast prompts are computed, in blocks of ``block_size`` tokens."""
        if self._step_s is None:
            return UNKNOWN_PACE
        return PrefillPace(self._step_s, self._step_s * block_size / self._prefill_tokens)

    def token_budget(self, running_tbt_s: list[float]) -> int:
        """Tokens for the next step, given the TBT target of each running decode."""
        budget = self._max_step_tokens
        if self._guard is not None:
            tightest_tbt_s = min(running_tbt_s, default=None)
            budget = self._guard.token_budget(tightest_tbt_s, len(running_tbt_s), budget)
        self._prefill_tokens = max(budget - len(running_tbt_s), 1)
        return budget
