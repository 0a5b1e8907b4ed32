"""What the engine tells of itself while it serves: a stat logger of vLLM's that only remembers.

Totals are cumulative over the engine's life; a run's share is the difference of two. Rotations are
known of our schedulers alone, which send a snapshot with each step.
"""

from typing import Any

from superinfer_runtime.telemetry.snapshot import EngineSnapshot
from vllm.v1.metrics.loggers import StatLoggerBase


class EngineWatch(StatLoggerBase):
    """Handed to `AsyncLLM` as its own factory: one engine, one watch."""

    def __init__(self) -> None:
        self._snapshot_data: dict[str, Any] | None = None
        self._steps = 0
        self._preemptions = 0
        self._num_running = 0
        self._num_waiting = 0

    def __call__(self, vllm_config: Any, engine_index: int = 0) -> "EngineWatch":
        return self

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if iteration_stats is not None:
            self._steps += 1
            self._preemptions += iteration_stats.num_preempted_reqs
        if scheduler_stats is not None:
            self._num_running = scheduler_stats.num_running_reqs
            self._num_waiting = (
                scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            )
            connector_stats = scheduler_stats.kv_connector_stats
            self._snapshot_data = (connector_stats or {}).get("superinfer", self._snapshot_data)

    def log_engine_initialized(self) -> None:
        """Nothing to say."""

    @property
    def is_idle(self) -> bool:
        """Whether after the last step nobody ran or waited, and our DRAM was all there."""
        snapshot = self._snapshot()
        settled = snapshot is None or (
            snapshot.num_rotary == 0 and snapshot.dram.budget_bytes == snapshot.dram.desired_bytes
        )
        return self._num_running <= 1 and self._num_waiting == 0 and settled

    def totals(self) -> dict[str, float]:
        """Everything counted since the engine's start."""
        counted: dict[str, float] = {"steps": self._steps}
        snapshot = self._snapshot()
        if snapshot is None:
            return counted | {"recompute_preemptions": self._preemptions}
        return counted | {
            "recompute_preemptions": snapshot.recompute_preemptions,
            "rotations_out": snapshot.out.rotations,
            "rotations_in": snapshot.into.rotations,
            "bytes_out": snapshot.out.bytes,
            "bytes_in": snapshot.into.bytes,
            "busy_out_s": round(snapshot.out.busy_s, 4),
            "busy_in_s": round(snapshot.into.busy_s, 4),
            "rotation_stalls": snapshot.rotation_stalls,
            "copy_failures": snapshot.copy_failures,
        }

    def trouble(self) -> str | None:
        """Why the engine is not what it is measured as, if so."""
        snapshot = self._snapshot()
        return None if snapshot is None else snapshot.rotation_off_reason

    def link_gb_per_s(self) -> dict[str, float] | None:
        """The link to DRAM or to the neighbour, as our engines calibrated it."""
        snapshot = self._snapshot()
        if snapshot is None or snapshot.link is None:
            return None
        return {
            "out": round(snapshot.link.out_bytes_per_s / 1e9, 1),
            "in": round(snapshot.link.in_bytes_per_s / 1e9, 1),
            "duplex": round(snapshot.link.duplex_bytes_per_s / 1e9, 1),
        }

    def _snapshot(self) -> EngineSnapshot | None:
        data = self._snapshot_data
        return None if data is None else EngineSnapshot.from_dict(data)
