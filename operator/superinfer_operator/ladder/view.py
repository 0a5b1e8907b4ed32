"""One moment's view of a running service, all of its replicas taken together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from superinfer_contract.metrics import Objective, Tier


@dataclass(frozen=True, slots=True)
class Judged:
    """How a class fared against one objective within the window."""

    slo_class: str
    objective: Objective
    good: int
    total: int


@dataclass(frozen=True, slots=True)
class TierView:
    """One tier of every replica that answers. Bounds are what all of them allow.

    ``desired_bytes`` is the service's wish in whole units; ``pending`` says that some replica is
    not at the wish, or is still moving.
    """

    min_bytes: int
    max_bytes: int
    desired_bytes: int
    allocated_bytes: int  # the least
    most_allocated_bytes: int
    in_use_bytes: int  # the most
    step_bytes: int
    pending: bool


class RefusalKind(StrEnum):
    """How Kubernetes turns down a pod's resize."""

    DEFERRED = "Deferred"  # no room on the node now
    INFEASIBLE = "Infeasible"  # never on this node
    ERROR = "Error"  # the kubelet tried and failed


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pod's memory was not resized; ``message`` is Kubernetes' own."""

    kind: RefusalKind
    message: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}" if self.message else self.kind


@dataclass(frozen=True, slots=True)
class Donor:
    """A service on the same GPUs that can spare HBM."""

    name: str
    spare_bytes: int


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """HBM that a service may ask for among those that share its GPUs."""

    free_bytes: int = 0  # of the group's total, wished for by nobody
    donors: tuple[Donor, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What the ladder is told."""

    tiers: Mapping[Tier, TierView]
    judged: tuple[Judged, ...] = ()
    headroom_bytes: Mapping[Tier, float] = field(default_factory=dict)  # the least
    waiting: int = 0
    rotary: int = 0
    stalls: float = 0.0  # in the window: a rotation was wanted and DRAM had no room
    recomputes: float = 0.0  # in the window: requests that lost their KV
    telemetry_age_s: float | None = 0.0  # the freshest replica's; None: none yet
    rotation_off_reason: str | None = None
    class_shares: Mapping[str, float] = field(default_factory=dict)  # wished; left out: 1
    classes_pending: bool = False  # some replica has other shares
    replicas: int | None = None  # wished; None: they are not the ladder's
    ready_replicas: int = 1
    silent: tuple[str, ...] = ()  # ready replicas without fresh telemetry
    absent: tuple[str, ...] = ()  # replicas that are not ready or do not answer
    refusal: Refusal | None = None  # of some pod's memory
    neighbourhood: Neighbourhood = Neighbourhood()

    def share_of(self, slo_class: str) -> float:
        """Share of the HBM budget that ``slo_class`` may hold."""
        return self.class_shares.get(slo_class, 1.0)
