"""One replica of a service: what the loop is given, and what one turn saw of it."""

from dataclasses import dataclass

from superinfer_contract.kv_budget import KvBudget

from superinfer_operator.ladder.view import Refusal
from superinfer_operator.runtime_client import RuntimeClient
from superinfer_operator.telemetry.windows import Snapshot


@dataclass(frozen=True, slots=True)
class PodMemory:
    """The memory limit of a pod whose size follows its budget."""

    limit_bytes: int  # asked for in its spec
    granted_bytes: int  # in force, by its status
    refusal: Refusal | None = None
    caught_up: bool = True  # the status speaks of the latest spec

    @property
    def safe_bytes(self) -> int:
        """What the process may count on, whatever the kubelet does next."""
        return min(self.limit_bytes, self.granted_bytes) if self.caught_up else 0


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica under the name by which it sends telemetry."""

    name: str
    runtime: RuntimeClient
    memory: PodMemory | None = None  # None: not known, or not to be resized
    ready: bool = True


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What one turn saw. ``budget`` is None when the replica was not ready or did not answer."""

    name: str
    ready: bool
    snapshot: Snapshot
    budget: KvBudget | None = None
    memory: PodMemory | None = None
    silent: bool = False  # ready, but without fresh telemetry
    trouble: str = ""
    distrust: str = ""  # why operator and replica do not speak, as the reason of a condition

    @property
    def refusal(self) -> Refusal | None:
        """Why its pod is not resized, if it is not."""
        return None if self.memory is None else self.memory.refusal
