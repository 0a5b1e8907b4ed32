"""How long a pod takes to end: all of it derived from ``spec.server.drainSeconds``.

A pod that is told to end goes on serving for `PROPAGATION_S` while every proxy learns that it is no
endpoint any more (the preStop sleep); then SIGTERM lets its requests finish within the drain time;
then the engine's processes end. Kubernetes' grace period covers the three together.
"""

import math
from dataclasses import dataclass

PROPAGATION_S = 10
CLEAN_UP_S = 15


@dataclass(frozen=True, slots=True)
class Grace:
    """Whole seconds, as Kubernetes wants them."""

    pre_stop_s: int
    drain_s: int
    termination_s: int

    @classmethod
    def of(cls, drain_s: float) -> "Grace":
        whole_s = math.ceil(drain_s)
        return cls(PROPAGATION_S, whole_s, PROPAGATION_S + whole_s + CLEAN_UP_S)
