"""Every metric of the operator itself: the one list that code, dashboards, alerts and docs use.

Its Prometheus face replaces dots by underscores, spells units out, and ends counters in ``_total``:
``superinfer_operator_reconciles_total{outcome="ok"}``.
"""

from dataclasses import dataclass
from enum import StrEnum

from superinfer_contract.metrics import Kind


class Label(StrEnum):
    """Attribute keys of data points."""

    OUTCOME = "outcome"
    VERB = "verb"
    RESOURCE = "resource"
    CODE = "code"
    RUNG = "rung"
    TRANSPORT = "transport"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument: name, UCUM unit, what it counts, and its attributes."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


RECONCILES = Instrument(
    "superinfer.operator.reconciles",
    Kind.COUNTER,
    "{reconcile}",
    "Reconciliations of a service by outcome: ok, error",
    (Label.OUTCOME,),
)
RECONCILE_DURATION = Instrument(
    "superinfer.operator.reconcile.duration",
    Kind.HISTOGRAM,
    "s",
    "Time that one reconciliation took",
    (Label.OUTCOME,),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
API_REQUESTS = Instrument(
    "superinfer.operator.api.requests",
    Kind.COUNTER,
    "{request}",
    "Requests to the Kubernetes API by verb, resource and HTTP status (0: no answer)",
    (Label.VERB, Label.RESOURCE, Label.CODE),
)
DECISIONS = Instrument(
    "superinfer.operator.decisions",
    Kind.COUNTER,
    "{decision}",
    "Decisions of the ladder by rung, and what became of them",
    (Label.RUNG, Label.OUTCOME),
)
OTLP_POINTS = Instrument(
    "superinfer.operator.otlp.points",
    Kind.COUNTER,
    "{point}",
    "Telemetry points received: accepted, rejected",
    (Label.OUTCOME,),
)
OTLP_REQUESTS = Instrument(
    "superinfer.operator.otlp.requests",
    Kind.COUNTER,
    "{request}",
    "Telemetry requests by transport and outcome: accepted, unauthenticated, refused (too large, "
    "or no OTLP), throttled",
    (Label.TRANSPORT, Label.OUTCOME),
)
OTLP_SERIES = Instrument(
    "superinfer.operator.otlp.series",
    Kind.GAUGE,
    "{series}",
    "Telemetry series held, of all services",
)
SERVICES = Instrument(
    "superinfer.operator.services", Kind.GAUGE, "{service}", "Services that the operator keeps"
)
PODS_SILENT = Instrument(
    "superinfer.operator.pods.silent",
    Kind.GAUGE,
    "{pod}",
    "Running pods from which no telemetry came lately",
)
WATCH_LAG = Instrument(
    "superinfer.operator.watch.lag",
    Kind.GAUGE,
    "s",
    "How long the operator has been behind the API server's latest change of a service",
)

ALL: tuple[Instrument, ...] = tuple(
    value for value in dict(globals()).values() if isinstance(value, Instrument)
)
