"""A TBT guard on the token budget: how much prefill one step may carry.

Every decode in a step waits for the step's prefill, so a fixed chunk that is fine for one class
breaks another's TBT. The guard learns two numbers from the steps themselves, the time of a step
without prefill and the extra time per prefill token, and caps the chunk so that the step stays
within the tightest TBT objective that is running.
"""

from dataclasses import dataclass

from superinfer_runtime.policy.smoothing import smoothed

_SHARE_OF_TARGET = 0.9
"""Part of the target that a step may fill; the rest is for what a step's time does not show."""


@dataclass(slots=True)
class TokenBudgetGuard:
    """Learned step-time model; feed it every step, ask it before each."""

    min_prefill_tokens: int = 64
    """Prefill never stops: below this the fixed cost of a step dominates."""
    decode_step_s: float | None = None
    prefill_token_s: float | None = None

    def record_step(self, step_time_s: float, num_prefill_tokens: int) -> None:
        """Note one step's duration and how many prompt tokens it computed."""
        if num_prefill_tokens == 0:
            self.decode_step_s = smoothed(self.decode_step_s, step_time_s)
        elif self.decode_step_s is not None and num_prefill_tokens >= self.min_prefill_tokens:
            extra_s = max(step_time_s - self.decode_step_s, 0.0)
            self.prefill_token_s = smoothed(self.prefill_token_s, extra_s / num_prefill_tokens)

    def token_budget(self, tightest_tbt_s: float | None, num_decodes: int, max_tokens: int) -> int:
        """Tokens that the next step may schedule, decodes included.

        Args:
            tightest_tbt_s: smallest TBT target among running decodes; None if none runs.
            num_decodes: tokens that the running decodes take.
            max_tokens: the engine's own limit, never exceeded.
        """
        if tightest_tbt_s is None or not self.prefill_token_s or self.decode_step_s is None:
            return max_tokens
        slack_s = _SHARE_OF_TARGET * tightest_tbt_s - self.decode_step_s
        prefill_tokens = max(int(slack_s / self.prefill_token_s), self.min_prefill_tokens)
        return min(num_decodes + prefill_tokens, max_tokens)
