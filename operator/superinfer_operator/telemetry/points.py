"""OTLP metrics as plain points.

`read_points` turns one export request into `Point`s and passes over what the operator does not use:
metrics that are not in the contract's list, and histograms (attainment is counted by the runtime,
which knows each request's objective). Nothing here keeps state.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as OtlpMetric
from superinfer_contract.metrics import ALL, Kind

SERVICE_NAME = "service.name"
POD_NAME = "k8s.pod.name"
INSTANCE_ID = "service.instance.id"

_USED = {metric.name for metric in ALL if metric.kind is not Kind.HISTOGRAM}


class Shape(Enum):
    """How a point's value is to be read."""

    CUMULATIVE = auto()  # the sum since start_ns
    DELTA = auto()  # the sum between start_ns and time_ns
    GAUGE = auto()  # the value at time_ns


Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent a point: a service and one of its pods (or processes)."""

    service: str
    pod: str


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one series. Times are the sender's, in nanoseconds; 0 is unknown."""

    source: Source
    metric: str
    attributes: Attributes
    shape: Shape
    value: float
    time_ns: int
    start_ns: int


def read_points(request: ExportMetricsServiceRequest) -> list[Point]:
    """Return the points of ``request`` that the operator uses."""
    return [
        point
        for resource_metrics in request.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
        if metric.name in _USED
        for point in _points_of(_source(resource_metrics.resource.attributes), metric)
    ]


def _source(attributes: Iterable[KeyValue]) -> Source:
    known = dict(_attributes(attributes))
    return Source(known.get(SERVICE_NAME, ""), known.get(POD_NAME) or known.get(INSTANCE_ID, ""))


def _points_of(source: Source, metric: OtlpMetric) -> Iterator[Point]:
    data = metric.WhichOneof("data")
    if data == "sum":
        delta = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
        is_delta = metric.sum.aggregation_temporality == delta
        shape = Shape.DELTA if is_delta else Shape.CUMULATIVE
        yield from (_point(source, metric.name, shape, item) for item in metric.sum.data_points)
    elif data == "gauge":
        yield from (
            _point(source, metric.name, Shape.GAUGE, item) for item in metric.gauge.data_points
        )


def _point(source: Source, name: str, shape: Shape, item: NumberDataPoint) -> Point:
    is_int = item.WhichOneof("value") == "as_int"
    return Point(
        source=source,
        metric=name,
        attributes=_attributes(item.attributes),
        shape=shape,
        value=float(item.as_int if is_int else item.as_double),
        time_ns=item.time_unix_nano,
        start_ns=item.start_time_unix_nano,
    )


def _attributes(items: Iterable[KeyValue]) -> Attributes:
    """Return string attributes, sorted, so that equal series have equal keys."""
    return tuple(
        sorted(
            (item.key, item.value.string_value)
            for item in items
            if item.value.WhichOneof("value") == "string_value"
        )
    )
