"""What the demo serves and what it asks of it (pure): one service, two schedulers, one load.

The KV budget in HBM is far smaller than what the offered requests need at once, so requests wait
for memory while others run: the contention that RotaSched is about. The arrival rate is set from
what stock vLLM itself serves on this machine, so that the demo shows the same thing on a slow
machine as on a fast one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.workload import Workload

MIB = 2**20
SERVICE_NAME = "demo"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Sizes in bytes and tokens, times in seconds."""

    num_layers: int = 24
    """Deep and thin: like a real model on a GPU, a step takes about as long for one request as for
    eight, and so long that HTTP beside it does not matter."""
    hbm_bytes: int = 24 * MIB
    dram_initial_bytes: int = 12 * MIB
    dram_max_bytes: int = 240 * MIB
    dram_step_bytes: int = 24 * MIB
    slab_bytes: int = 6 * MIB
    input_tokens: int = 128
    output_tokens: int = 120
    range_ratio: float = 0.4
    duration_s: float = 40.0
    load_share: float = 1.5
    """Arrival rate as a share of what stock vLLM serves when saturated."""
    burstiness: float = 0.5
    """Shape of the Gamma arrivals: below 1 is burstier than Poisson."""
    chat_ttft_s: float = 1.0
    chat_tbt_s: float = 0.1
    report_ttft_s: float = 4.0
    report_tbt_s: float = 0.2
    seed: int = 20260120

    @property
    def classes(self) -> tuple[LoadClass, ...]:
        """Two classes: people who chat, and reports that can wait a little."""
        return (
            LoadClass("chat", 0.7, self.chat_ttft_s, self.chat_tbt_s),
            LoadClass("report", 0.3, self.report_ttft_s, self.report_tbt_s),
        )

    @property
    def engine_args(self) -> dict[str, Any]:
        """vLLM's arguments, the same for both schedulers."""
        return {
            "enforce-eager": True,
            "dtype": "float32",
            "max-model-len": 1024,
            "block-size": 32,
            "max-num-seqs": 64,
            "disable-uvicorn-access-log": True,
        }

    def service(self, policy: str, port: int, model: Path) -> dict[str, Any]:
        """The service as a `SuperInferService`, the schema that Kubernetes uses."""
        return {
            "apiVersion": "superinfer.dev/v1alpha1",
            "kind": "SuperInferService",
            "metadata": {"name": SERVICE_NAME},
            "spec": {
                "policy": policy,
                "model": {"path": str(model)},
                "engine": {"args": self.engine_args},
                "sloClasses": [
                    {
                        "name": load_class.name,
                        "ttftSeconds": load_class.ttft_s,
                        "tbtSeconds": load_class.tbt_s,
                        "default": number == 0,
                    }
                    for number, load_class in enumerate(self.classes)
                ],
                "kvCache": {
                    # Both bounds alike: the comparison is over the same HBM.
                    "hbm": {"min": self.hbm_bytes, "max": self.hbm_bytes},
                    "dram": {
                        "min": self.dram_initial_bytes,
                        "initial": self.dram_initial_bytes,
                        "max": self.dram_max_bytes,
                        "step": self.dram_step_bytes,
                    },
                    "slab": self.slab_bytes,
                },
                "scheduler": {"runQuantumSeconds": 0.2},
                "server": {"port": port, "drainSeconds": 10},
                "telemetry": {"intervalSeconds": 1},
                "budget": {
                    "windowSeconds": 6,
                    "minEvents": 5,
                    "cooldownSeconds": 6,
                    "timeoutSeconds": 15,
                },
            },
        }

    def saturating_load(self) -> Workload:
        """A short burst at once: how fast the server is when it always has work."""
        return Workload(
            seed=self.seed + 1,
            max_requests=24,
            process=ArrivalProcess.CONSTANT,
            request_rate=1000.0,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            range_ratio=self.range_ratio,
            classes=self.classes,
        )

    def load(self, request_rate: float) -> Workload:
        """The load that both schedulers are offered."""
        return Workload(
            seed=self.seed,
            duration_s=self.duration_s,
            process=ArrivalProcess.GAMMA,
            burstiness=self.burstiness,
            request_rate=request_rate,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            range_ratio=self.range_ratio,
            classes=self.classes,
        )
