"""What all runs of an evaluation have in common."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.workload.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Setup:
    """Can be pickled, for runs in other processes."""

    scenarios: Mapping[str, Scenario]
    """By name."""
    deployment: Deployment
    duration_s: float
    """Seconds of arrivals; a run goes on until its last token."""

    def parameters(self) -> dict[str, Any]:
        """As JSON values."""
        deployment = self.deployment
        return {
            "model": deployment.model.name,
            "hardware": deployment.hardware.name,
            "tensor_parallel": deployment.tensor_parallel,
            "replicas": deployment.replicas,
            "hbm_kv_bytes": deployment.hbm_blocks * deployment.block_bytes,
            "dram_kv_bytes": deployment.dram_blocks * deployment.block_bytes,
            **asdict(deployment.limits),
            "knobs": deployment.knobs.model_dump(),
            "duration_s": self.duration_s,
            "workloads": {
                name: {
                    "description": scenario.description,
                    "slo_classes": [slo_class.model_dump() for slo_class in scenario.classes],
                }
                for name, scenario in self.scenarios.items()
            },
        }
