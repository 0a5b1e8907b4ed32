"""Messages between the scheduler's half of DuplexKV and the workers' half.

They ride on vLLM's own step: `RotationMetadata` goes out with each scheduler output, `WorkerReport`
comes back with each model output, those of all tensor-parallel ranks joined by `aggregate`.
"""

from dataclasses import dataclass

from vllm.distributed.kv_transfer.kv_connector.v1.base import (
    KVConnectorMetadata,
    KVConnectorWorkerMetadata,
)

from superinfer_runtime.engine.ranks import RankReports
from superinfer_runtime.engine.residency import CopyOrders


@dataclass
class RotationMetadata(CopyOrders, KVConnectorMetadata):
    """What the workers are to start with this step."""


@dataclass
class WorkerReport(RankReports, KVConnectorWorkerMetadata):
    """What happened at the workers."""

    def aggregate(self, other: KVConnectorWorkerMetadata) -> KVConnectorWorkerMetadata:
        """Add another rank's report of the same step."""
        assert isinstance(other, WorkerReport)
        return self.joined(other)
