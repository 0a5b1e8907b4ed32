"""Every metric that a runtime sends: the one list that code, dashboards, alerts and docs use.

OpenTelemetry's GenAI server conventions name the histograms; everything of our own stands under
``superinfer.``. The Prometheus face at ``/metrics`` has them beside vLLM's own, under
the names that `prometheus` tells.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """OpenTelemetry instrument kinds. Counters are cumulative and monotonic."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Attribute(StrEnum):
    """Attribute keys of data points."""

    SLO_CLASS = "superinfer.slo.class"
    OBJECTIVE = "superinfer.slo.objective"
    OUTCOME = "superinfer.slo.outcome"
    TIER = "superinfer.kv.tier"
    DIRECTION = "superinfer.kv.direction"
    STATE = "superinfer.request.state"
    MODEL = "gen_ai.request.model"


class Objective(StrEnum):
    """What a request was judged on."""

    TTFT = "ttft"
    TBT = "tbt"
    JOINT = "joint"


class Outcome(StrEnum):
    """GOOD + BAD is the total."""

    GOOD = "good"
    BAD = "bad"


class Tier(StrEnum):
    """KV memory tiers."""

    HBM = "hbm"
    DRAM = "dram"


class Direction(StrEnum):
    """OUT: HBM to DRAM. IN: DRAM to HBM."""

    OUT = "out"
    IN = "in"


DUPLEX = "duplex"
"""`Attribute.DIRECTION` of what was measured with both directions at once, summed."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One instrument: OTLP name, UCUM unit, what it counts, and its attributes."""

    name: str
    kind: Kind
    unit: str
    description: str
    attributes: tuple[Attribute, ...] = ()
    buckets: tuple[float, ...] = ()


_TTFT_BUCKETS = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
)
_TPOT_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_DURATION_BUCKETS = tuple(0.01 * 2**power for power in range(14))

TTFT = Metric(
    "gen_ai.server.time_to_first_token",
    Kind.HISTOGRAM,
    "s",
    "Time from a request's arrival to its first token",
    (Attribute.SLO_CLASS, Attribute.MODEL),
    _TTFT_BUCKETS,
)
TPOT = Metric(
    "gen_ai.server.time_per_output_token",
    Kind.HISTOGRAM,
    "s",
    "Mean gap between a finished request's tokens after the first (TBT)",
    (Attribute.SLO_CLASS, Attribute.MODEL),
    _TPOT_BUCKETS,
)
REQUEST_DURATION = Metric(
    "gen_ai.server.request.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from a request's arrival to its last token",
    (Attribute.SLO_CLASS, Attribute.MODEL),
    _DURATION_BUCKETS,
)
SLO_TARGET = Metric(
    "superinfer.slo.target",
    Kind.GAUGE,
    "1",
    "Share of a class's requests that are to meet both objectives, as configured",
    (Attribute.SLO_CLASS,),
)
SLO_OBJECTIVE = Metric(
    "superinfer.slo.objective",
    Kind.GAUGE,
    "s",
    "Time that a class's objective allows, as configured",
    (Attribute.SLO_CLASS, Attribute.OBJECTIVE),
)
SLO_CLASS_SHARE = Metric(
    "superinfer.slo.class.share",
    Kind.GAUGE,
    "1",
    "Share of the HBM budget that the requests of a class may hold",
    (Attribute.SLO_CLASS,),
)
SLO_REQUESTS = Metric(
    "superinfer.slo.requests",
    Kind.COUNTER,
    "{request}",
    "Requests judged against an objective; good + bad is the total",
    (Attribute.SLO_CLASS, Attribute.OBJECTIVE, Attribute.OUTCOME),
)
SLO_MAX_LAG = Metric(
    "superinfer.slo.lag",
    Kind.GAUGE,
    "s",
    "Largest virtual lag time of a request that waits for HBM",
    (Attribute.SLO_CLASS,),
)
REQUESTS = Metric(
    "superinfer.requests",
    Kind.GAUGE,
    "{request}",
    "Requests by state: running, waiting, rotary (KV in DRAM or on its way)",
    (Attribute.STATE,),
)
ROTATION_ENABLED = Metric(
    "superinfer.kv.rotation.enabled",
    Kind.GAUGE,
    "{boolean}",
    "1: requests can rotate; 0: it was asked for and cannot be; no point: not asked for",
)
ROTATIONS = Metric(
    "superinfer.kv.rotations",
    Kind.COUNTER,
    "{rotation}",
    "Requests rotated out of HBM or back in",
    (Attribute.DIRECTION,),
)
ROTATION_BYTES = Metric(
    "superinfer.kv.rotation.bytes",
    Kind.COUNTER,
    "By",
    "KV bytes copied between HBM and DRAM, mirrors included",
    (Attribute.DIRECTION,),
)
ROTATION_TIME = Metric(
    "superinfer.kv.rotation.time",
    Kind.COUNTER,
    "s",
    "Time that the link was busy copying",
    (Attribute.DIRECTION,),
)
ROTATION_STALLS = Metric(
    "superinfer.kv.rotation.stalls",
    Kind.COUNTER,
    "{iteration}",
    "Iterations in which a rotation was wanted and DRAM had no room for it",
)
LINK_BANDWIDTH = Metric(
    "superinfer.kv.link.bandwidth",
    Kind.GAUGE,
    "By/s",
    "Measured bandwidth of the link between HBM and DRAM",
    (Attribute.DIRECTION,),
)
LINK_CALIBRATED = Metric(
    "superinfer.kv.link.calibrated",
    Kind.GAUGE,
    "By/s",
    "Bandwidth of the link as measured at start: out, in, and duplex (both at once, summed)",
    (Attribute.DIRECTION,),
)
LINK_CROSSOVER = Metric(
    "superinfer.kv.link.crossover",
    Kind.GAUGE,
    "By",
    "Smallest segment that copy engines move as fast as the GPU's SMs gather and scatter it",
)
COPY_FAILURES = Metric(
    "superinfer.kv.copy.failures",
    Kind.COUNTER,
    "{job}",
    "Copy jobs that failed or got stuck; the requests concerned are computed again",
)
KV_BUDGET = Metric(
    "superinfer.kv.budget", Kind.GAUGE, "By", "KV budget in force", (Attribute.TIER,)
)
KV_BUDGET_MAX = Metric(
    "superinfer.kv.budget.max",
    Kind.GAUGE,
    "By",
    "Largest KV budget that the configuration allows",
    (Attribute.TIER,),
)
KV_USED = Metric("superinfer.kv.used", Kind.GAUGE, "By", "KV bytes in use", (Attribute.TIER,))
KV_HEADROOM = Metric(
    "superinfer.kv.headroom",
    Kind.GAUGE,
    "By",
    "KV budget that is neither used nor reserved for running requests' growth",
    (Attribute.TIER,),
)
RECOMPUTE_PREEMPTIONS = Metric(
    "superinfer.preemptions.recompute",
    Kind.COUNTER,
    "{preemption}",
    "Running requests that lost their KV and had to be computed again",
)
STEP_TIME = Metric("superinfer.engine.step.time", Kind.GAUGE, "s", "Recent time of one engine step")

ALL: tuple[Metric, ...] = tuple(
    value for value in dict(globals()).values() if isinstance(value, Metric)
)
