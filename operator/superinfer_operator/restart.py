"""When to start a crashed runtime again: a pure rule.

A runtime that refuses its configuration will refuse it again, so it is not retried. A crash soon
after the start counts against the limit and doubles the pause; a long life wipes the slate.
"""

from dataclasses import dataclass

from superinfer_contract import exit_codes

NOT_RETRIED = frozenset({exit_codes.CONFIG, exit_codes.USAGE})


@dataclass(frozen=True, slots=True)
class RestartRule:
    """How patient the supervisor is. Times in seconds."""

    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    max_quick_crashes: int = 5
    quick_s: float = 60.0  # a life shorter than this was a quick crash


def backoff_s(rule: RestartRule, quick_crashes: int) -> float:
    """Return the pause after the ``quick_crashes``-th quick crash in a row (0: a long life)."""
    doublings = min(max(0, quick_crashes - 1), 30)
    return min(rule.longest_pause_s, rule.first_pause_s * 2.0**doublings)


def count_quick(rule: RestartRule, quick_crashes: int, lifetime_s: float) -> int:
    """Return how many quick crashes in a row there are after a life of ``lifetime_s``."""
    return quick_crashes + 1 if lifetime_s < rule.quick_s else 0


def gives_up(rule: RestartRule, quick_crashes: int) -> bool:
    """Whether this many quick crashes in a row are enough."""
    return quick_crashes >= rule.max_quick_crashes
