"""When a series of probe results becomes a verdict, and how long a crashed container waits."""

from dataclasses import dataclass, field

MAX_BACKOFF_S = 300.0


@dataclass
class ProbeCounter:
    """Counts results in a row; a verdict falls when one kind reaches its threshold."""

    success_threshold: int = 1
    failure_threshold: int = 3
    _last: bool | None = None
    _in_row: int = 0

    def observe(self, success: bool) -> bool | None:
        """Return True or False once the threshold is reached, None before."""
        self._in_row = self._in_row + 1 if success == self._last else 1
        self._last = success
        needed = self.success_threshold if success else self.failure_threshold
        return success if self._in_row >= needed else None


@dataclass
class CrashBackoff:
    """The first restart is at once; then the wait doubles until a run was long enough."""

    first_s: float = 10.0
    _next_s: float = field(default=0.0, init=False)

    def after_run(self, ran_s: float) -> float:
        """Return how long to wait after a run of ``ran_s`` seconds."""
        if ran_s >= 2 * MAX_BACKOFF_S:
            self._next_s = 0.0
        wait_s = self._next_s
        self._next_s = min(max(self.first_s, 2 * wait_s), MAX_BACKOFF_S)
        return wait_s
