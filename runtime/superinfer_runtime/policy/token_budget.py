"""A TBT guard on the token budget: how much prefill one step may carry.

Every decode in a step waits for the step's prefill, so a fixed chunk that is fine for one class
breaks another's TBT. The guard learns from the steps themselves what a prefill token adds to one,
and caps the chunk so that the step stays within a share of the tightest TBT objective that runs.

A step takes about ``a + b x prefill tokens``. Both drift as requests come and go, so the line is
drawn through the recent mean step with the slope of recent steps. Before two different steps were
seen the whole step counts as the cost of its prefill: the guard starts careful, not blind.
"""

from dataclasses import dataclass

from superinfer_runtime.policy.smoothing import smoothed

_SHARE_OF_TARGET = 0.8
"""Part of the target that a step may fill: the rest is what a request may win, to spend it on
pauses. Of 0.7, 0.8 and 0.9 the best on average in simulation (docs/concepts/policy-search.md)."""
_WEIGHT_OF_NEW = 0.1


@dataclass(slots=True)
class TokenBudgetGuard:
    """Learned step-time model; feed it every step, ask it before each."""

    min_prefill_tokens: int = 64
    """Prefill never stops: below this the fixed cost of a step dominates."""
    prefill_token_s: float | None = None
    """The slope; None until a step with prefill was seen."""
    _step_s: float | None = None
    _prefill_tokens: float = 0.0
    _variance: float = 0.0
    _covariance: float = 0.0

    def record_step(self, step_time_s: float, num_prefill_tokens: int) -> None:
        """Note one step's duration and how many prompt tokens it computed."""
        if self._step_s is None:
            self._step_s, self._prefill_tokens = step_time_s, num_prefill_tokens
        more_tokens = num_prefill_tokens - self._prefill_tokens
        more_s = step_time_s - self._step_s
        self._prefill_tokens += _WEIGHT_OF_NEW * more_tokens
        self._step_s += _WEIGHT_OF_NEW * more_s
        kept = 1.0 - _WEIGHT_OF_NEW
        self._variance = kept * (self._variance + _WEIGHT_OF_NEW * more_tokens**2)
        self._covariance = kept * (self._covariance + _WEIGHT_OF_NEW * more_tokens * more_s)
        has_prefill = num_prefill_tokens >= self.min_prefill_tokens
        if self._variance >= (self.min_prefill_tokens / 2) ** 2:
            slope = self._covariance / self._variance
            if has_prefill:
                slope = min(slope, step_time_s / num_prefill_tokens)
            if slope > 0.0:
                self.prefill_token_s = smoothed(self.prefill_token_s, slope)
        elif has_prefill and self.prefill_token_s is None:
            self.prefill_token_s = step_time_s / num_prefill_tokens

    def token_budget(self, tightest_tbt_s: float | None, num_decodes: int, max_tokens: int) -> int:
        """Tokens that the next step may schedule, decodes included.

        Args:
            tightest_tbt_s: smallest TBT target among running decodes; None if none runs.
            num_decodes: tokens that the running decodes take.
            max_tokens: the engine's own limit, never exceeded.
        """
        if tightest_tbt_s is None or not self.prefill_token_s or self._step_s is None:
            return max_tokens
        slack_s = _SHARE_OF_TARGET * tightest_tbt_s - self._step_s
        prefill_tokens = int(self._prefill_tokens + slack_s / self.prefill_token_s)
        return min(num_decodes + max(prefill_tokens, self.min_prefill_tokens), max_tokens)
