"""How far a run is: what the runner tells while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts of requests so far; `done` includes `failed`, and `good` kept both objectives."""

    planned: int
    sent: int
    done: int
    failed: int
    good: int
    elapsed_s: float

    @property
    def joint_attainment(self) -> float | None:
        """Of the requests that have ended, 0..1; None before the first."""
        return self.good / self.done if self.done else None


ProgressCallback = Callable[[Progress], None]
