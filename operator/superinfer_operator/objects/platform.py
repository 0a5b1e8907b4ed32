"""What the builders need to know of the operator's own surroundings."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Platform:
    """One operator installation."""

    runtime_image: str
    operator_namespace: str
    otlp_endpoint: str
    """Base URL of the telemetry receiver as pods reach it."""
    otlp_ca: str | None = None
    """What the receiver's certificate is checked against, in PEM; None: the system's."""
    service_monitors: bool = False
    """Whether the cluster knows ServiceMonitors."""
    service_monitor_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels by which a Prometheus selects them."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The bearer tokens of one service, and a fingerprint that changes with the signing key."""

    admin: str
    otlp: str
    fingerprint: str
