"""RotaConnector: DuplexKV's worker half as a vLLM KV connector, keyed by request.

Decisions are the scheduler's (`RotaScheduler` fills the metadata and takes the acknowledgements);
the connector only carries them: jobs go to the copy engine before the step's compute is launched,
finished ones come back with the step's output. It never blocks a step.
"""

from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorBase_V1,
    KVConnectorMetadata,
    KVConnectorRole,
    SupportsHMA,
)
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import KVConnectorStats

from superinfer_runtime.duplexkv.copy_engine import CopyEngine
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.copy_engines import copy_engine
from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.engine.messages import RotationMetadata, WorkerReport
from superinfer_runtime.engine.version import check_vllm_version
from superinfer_runtime.engine.vllm_kv import geometry_of, rotation_obstacle

check_vllm_version()


class RotaConnector(KVConnectorBase_V1, SupportsHMA):
    """See the module's text; loaded by ``kv_connector_module_path``."""

    prefer_cross_layer_blocks = True
    """One segment a block where the model runner offers it: large copies merge into larger ones."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._engine: CopyEngine | None = None
        self._config = EngineConfig.from_vllm(vllm_config)
        self._geometry: KvGeometry | None = None
        if rotation_obstacle(vllm_config, kv_cache_config, self._config) is None:
            self._geometry = geometry_of(vllm_config, kv_cache_config, self._config)

    # --- worker ------------------------------------------------------------------------------

    def register_kv_caches(self, kv_caches: dict[str, torch.Tensor]) -> None:
        if self._geometry is None:
            return
        self._engine = self.make_engine(kv_caches)
        self._engine.calibrate(self._geometry.num_blocks)

    def register_cross_layers_kv_cache(self, kv_cache: torch.Tensor, attn_backend: Any) -> None:
        self.register_kv_caches({"all layers": kv_cache})

    def make_engine(self, kv_caches: dict[str, torch.Tensor]) -> CopyEngine:
        """Return the copy engine for this worker's KV memory."""
        assert self._geometry is not None
        return copy_engine(list(kv_caches.values()), self._geometry, self._config)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        metadata = self._get_connector_metadata()
        if self._engine is None or not isinstance(metadata, RotationMetadata):
            return
        for slab in metadata.add_slabs:
            self._engine.add_slab(slab)
        for slab in metadata.drop_slabs:
            self._engine.drop_slab(slab)
        for job in metadata.jobs:
            self._engine.submit(job)

    def build_connector_worker_meta(self) -> WorkerReport | None:
        if self._engine is None:
            return None
        report = self._engine.poll()
        return None if report.is_empty else WorkerReport.of(report)

    def wait_for_layer_load(self, layer_name: str) -> None:
        """Loads are whole requests that are not in the batch: nothing to wait for."""

    def save_kv_layer(
        self, layer_name: str, kv_layer: torch.Tensor, attn_metadata: Any, **kwargs: Any
    ) -> None:
        """Blocks are copied by job, not by layer."""

    def wait_for_save(self) -> None:
        """A copy's source stays pinned until it is acknowledged: nothing to wait for."""

    def shutdown(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    # --- scheduler: RotaScheduler does it all -------------------------------------------------

    def get_num_new_matched_tokens(
        self, request: Any, num_computed_tokens: int
    ) -> tuple[int | None, bool]:
        return 0, False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """Rotations in allocate their own blocks."""

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        return RotationMetadata()

    def request_finished_all_groups(
        self, request: Any, block_ids: tuple[list[int], ...]
    ) -> tuple[bool, dict[str, Any] | None]:
        return False, None

    def reset_cache(self) -> bool:
        """Nothing is kept beyond live requests."""
        return True

    @classmethod
    def build_kv_connector_stats(
        cls, data: dict[str, Any] | None = None
    ) -> KVConnectorStats | None:
        return RotationStats(data=data or {})


class RotationStats(KVConnectorStats):
    """Makes vLLM's periodic log line show the rotation totals."""

    data: dict[str, Any]

    def reset(self) -> None:
        self.data = {}

    def aggregate(self, other: KVConnectorStats) -> KVConnectorStats:
        return other  # totals are cumulative: the newer ones say it all

    def reduce(self) -> dict[str, int | float]:
        snapshot = self.data.get("superinfer", {})
        return {
            "rotary requests": snapshot.get("num_rotary", 0),
            "rotations out": snapshot.get("out", {}).get("rotations", 0),
            "rotations in": snapshot.get("into", {}).get("rotations", 0),
            "recompute preemptions": snapshot.get("recompute_preemptions", 0),
        }

    def is_empty(self) -> bool:
        return not self.data
