"""Is what the watches show what the API server holds? The operator's liveness asks this.

A watch stream can freeze without an error; a loop that still turns then works from old news for
ever. So the services' generations are read straight from the server now and then, and one that
stays ahead of what the watch delivered for longer than `PATIENCE_S` means a frozen watch: the
liveness probe fails and the kubelet starts the operator anew, which loses nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ServiceKey = tuple[str, str]

PATIENCE_S = 90.0


@dataclass(slots=True)
class WatchCheck:
    """Remembers since when each service's watch has been behind. Time is an argument."""

    patience_s: float = PATIENCE_S
    _behind_since_s: dict[ServiceKey, float] = field(default_factory=dict)

    def compare(
        self, held: Mapping[ServiceKey, int], seen: Mapping[ServiceKey, int], now_s: float
    ) -> None:
        """Take what the server holds and what the watch has delivered, both by generation."""
        behind = {key for key, generation in held.items() if seen.get(key, -1) < generation}
        behind |= seen.keys() - held.keys()  # gone, and the watch did not say so
        self._behind_since_s = {key: self._behind_since_s.get(key, now_s) for key in behind}

    def lag_s(self, now_s: float) -> float:
        """Return for how long some service has been behind; 0 when none is."""
        return max((now_s - since_s for since_s in self._behind_since_s.values()), default=0.0)

    def problem(self, now_s: float) -> str | None:
        """Return what is wrong, or None."""
        late = sorted(
            key
            for key, since_s in self._behind_since_s.items()
            if now_s - since_s > self.patience_s
        )
        if not late:
            return None
        names = ", ".join("/".join(key) for key in late[:3])
        return f"the watch is behind the API server for {len(late)} services ({names})"
