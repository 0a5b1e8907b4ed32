"""From an OTLP request to points: whose they are, and which are fit to be kept.

The sender's token decides the service; what a resource says of itself counts only for the fleet's
token. Passed over without complaint is what the operator does not use: metrics that are not in the
contract's list, and histograms (attainment is counted by the runtime, which knows each request's
objective). Nothing here keeps state.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    NumberDataPoint,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as OtlpMetric
from superinfer_contract.metrics import ALL, Kind

from superinfer_operator.telemetry.points import Attributes, Point, Shape, Source
from superinfer_operator.telemetry.rejection import Reason, Rejected
from superinfer_operator.tokens import FLEET

SERVICE_NAMESPACE = "service.namespace"
SERVICE_NAME = "service.name"
POD_NAME = "k8s.pod.name"
INSTANCE_ID = "service.instance.id"

MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_CHARS = 256
MAX_ATTRIBUTES_CHARS = 512  # of all of a point's
MAX_COUNT = 2**63  # finite sums stay finite

_KINDS = {metric.name: metric.kind for metric in ALL if metric.kind is not Kind.HISTOGRAM}
_SHAPES = {
    AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE: Shape.CUMULATIVE,
    AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA: Shape.DELTA,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request holds for the operator."""

    points: list[Point] = field(default_factory=list)
    rejected: Rejected = field(default_factory=Rejected)


def read_points(request: ExportMetricsServiceRequest, identity: str) -> Reading:
    """Return the points of ``request``, which came with the token of service ``identity``."""
    reading = Reading()
    for of_resource in request.resource_metrics:
        source = _source(of_resource.resource.attributes, identity)
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                if metric.name in _KINDS:
                    _read(reading, source, metric)
    return reading


def _source(attributes: Iterable[KeyValue], identity: str) -> Source | Reason:
    known = {item.key: item.value.string_value for item in attributes}
    service = _fleet_member(known) if identity == str(FLEET) else identity
    if service is None:
        return Reason.NO_SERVICE
    pod = known.get(POD_NAME) or known.get(INSTANCE_ID, "")
    return Source(service, pod) if 0 < len(pod) <= MAX_ATTRIBUTE_CHARS else Reason.NO_POD


def _fleet_member(known: Mapping[str, str]) -> str | None:
    namespace, name = known.get(SERVICE_NAMESPACE), known.get(SERVICE_NAME)
    return f"{namespace}/{name}" if namespace and name else None


def _read(reading: Reading, source: Source | Reason, metric: OtlpMetric) -> None:
    data = metric.WhichOneof("data")
    if data is None:
        return
    shape = _shape(metric)
    for item in getattr(metric, data).data_points:
        if item.flags & DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK:
            continue
        found = _point(source, metric.name, shape, item)
        if isinstance(found, Reason):
            reading.rejected[found] += 1
        else:
            reading.points.append(found)


def _shape(metric: OtlpMetric) -> Shape | Reason:
    data, kind = metric.WhichOneof("data"), _KINDS[metric.name]
    if data == "gauge" and kind is Kind.GAUGE:
        return Shape.GAUGE
    if data == "sum" and kind is Kind.COUNTER and metric.sum.is_monotonic:
        return _SHAPES.get(metric.sum.aggregation_temporality, Reason.WRONG_KIND)
    return Reason.WRONG_KIND


def _point(
    source: Source | Reason, name: str, shape: Shape | Reason, item: NumberDataPoint
) -> Point | Reason:
    if isinstance(source, Reason):
        return source
    if isinstance(shape, Reason):
        return shape
    if item.time_unix_nano == 0:
        return Reason.NO_TIME
    value, attributes = _value(item, shape), _attributes(item.attributes)
    if value is None:
        return Reason.BAD_VALUE
    if attributes is None:
        return Reason.BAD_ATTRIBUTES
    return Point(
        source, name, attributes, shape, value, item.time_unix_nano, item.start_time_unix_nano
    )


def _value(item: NumberDataPoint, shape: Shape) -> float | None:
    which = item.WhichOneof("value")
    if which is None:
        return None
    value = float(item.as_int if which == "as_int" else item.as_double)
    possible = math.isfinite(value) if shape is Shape.GAUGE else 0 <= value <= MAX_COUNT
    return value if possible else None


def _attributes(items: Iterable[KeyValue]) -> Attributes | None:
    """Return all attributes as text, sorted, so that equal series have equal keys."""
    found: list[tuple[str, str]] = []
    num_chars = 0
    for item in items:
        text = _text(item.value)
        if text is None or len(found) == MAX_ATTRIBUTES:
            return None
        num_chars += len(item.key) + len(text)
        longest = max(len(item.key), len(text))
        if longest > MAX_ATTRIBUTE_CHARS or num_chars > MAX_ATTRIBUTES_CHARS:
            return None
        found.append((item.key, text))
    return tuple(sorted(found))


def _text(value: AnyValue) -> str | None:
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    if which in ("bool_value", "int_value", "double_value"):
        return str(getattr(value, which)).lower()
    return None
