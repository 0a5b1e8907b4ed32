"""SloStatLogger: vLLM's stat-logger plug-in that feeds SuperInfer's meters.

The entry point loads it in every process of this environment that serves with vLLM, so it is inert
unless `superinfer serve` has set meters up there. It runs in the API process, on the event loop,
once a step; vLLM's own metrics are not touched.
"""

from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from superinfer_runtime.telemetry.active import active_meters
from superinfer_runtime.telemetry.snapshot import EngineSnapshot

STATS_KEY = "superinfer"


class SloStatLogger(StatLoggerBase):
    """See the module's text; the interface is that of `vllm/v1/metrics/loggers.py`."""

    def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
        self._meters = active_meters()

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        if self._meters is None or scheduler_stats is None:
            return
        stats = scheduler_stats.kv_connector_stats
        data = stats.get(STATS_KEY) if stats else None
        if data is not None:  # absent with another scheduler than ours
            self._meters.record(EngineSnapshot.from_dict(data))

    def log_engine_initialized(self) -> None:
        """vLLM's own loggers say it."""
