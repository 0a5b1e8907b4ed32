"""From OTLP requests to points: what is fit to be kept, and what is rejected, with its reason."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from superinfer_contract.metrics import ROTATION_STALLS, STEP_TIME, TTFT
from superinfer_operator.telemetry.points import Source
from superinfer_operator.telemetry.reading import (
    MAX_ATTRIBUTE_CHARS,
    MAX_ATTRIBUTES,
    Reading,
    read_points,
)
from superinfer_operator.telemetry.rejection import Reason, Rejected, in_words
from superinfer_operator.telemetry.windows import Windows
from superinfer_operator.tokens import FLEET

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
UNSPECIFIED = AggregationTemporality.AGGREGATION_TEMPORALITY_UNSPECIFIED


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def gauge(**point: Any) -> Metric:
    item = NumberDataPoint(**{"time_unix_nano": 1, "as_double": 1.0, **point})
    return Metric(name=STEP_TIME.name, gauge=Gauge(data_points=[item]))


def counter(
    value: float | None, temporality: AggregationTemporality = CUMULATIVE, monotonic: bool = True
) -> Metric:
    item = NumberDataPoint(time_unix_nano=1, as_double=value)
    data = Sum(data_points=[item], aggregation_temporality=temporality, is_monotonic=monotonic)
    return Metric(name=ROTATION_STALLS.name, sum=data)


def read(
    *metrics: Metric, identity: str = "team/chat", resource: tuple[KeyValue, ...] | None = None
) -> Reading:
    of_pod = (text("k8s.pod.name", "chat-0"),) if resource is None else resource
    request = ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=Resource(attributes=of_pod),
                scope_metrics=[ScopeMetrics(metrics=metrics)],
            )
        ]
    )
    return read_points(request, identity)


def reason(*metrics: Metric, **how: Any) -> Reason | None:
    """Why ``metrics`` are rejected; None: they are taken."""
    reading = read(*metrics, **how)
    assert len(reading.points) + reading.rejected.total() == len(metrics)
    return next(iter(reading.rejected), None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300, None])
def test_impossible_counts_are_rejected(value: float | None) -> None:
    assert reason(counter(value)) is Reason.BAD_VALUE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_impossible_levels_are_rejected(value: float | None) -> None:
    assert reason(gauge(as_double=value)) is Reason.BAD_VALUE
    assert reason(gauge(as_double=-1.0)) is None


def test_a_counter_must_be_a_counter_and_a_gauge_a_gauge() -> None:
    item = NumberDataPoint(time_unix_nano=1, as_int=1)
    as_gauge = Metric(name=ROTATION_STALLS.name, gauge=Gauge(data_points=[item]))
    as_sum = Metric(
        name=STEP_TIME.name,
        sum=Sum(data_points=[item], aggregation_temporality=CUMULATIVE, is_monotonic=True),
    )
    as_histogram = Metric(
        name=STEP_TIME.name, histogram=Histogram(data_points=[HistogramDataPoint()])
    )
    for metric in (
        as_gauge,
        as_sum,
        as_histogram,
        counter(1, UNSPECIFIED),
        counter(1, monotonic=False),
    ):
        assert reason(metric) is Reason.WRONG_KIND
    assert reason(counter(1)) is None


def test_a_point_without_time_is_rejected() -> None:
    assert reason(gauge(time_unix_nano=0)) is Reason.NO_TIME


def test_what_has_no_value_on_purpose_is_passed_over() -> None:
    absent = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
    ttft = Metric(name=TTFT.name, histogram=Histogram(data_points=[HistogramDataPoint()]))
    other = Metric(name="somebody.elses", gauge=Gauge(data_points=[NumberDataPoint()]))
    reading = read(gauge(flags=absent), Metric(name=STEP_TIME.name), ttft, other)
    assert reading == Reading()


@pytest.mark.parametrize(
    "attributes",
    [
        [text("k", "x" * (MAX_ATTRIBUTE_CHARS + 1))],
        [text("k" * (MAX_ATTRIBUTE_CHARS + 1), "x")],
        [text(str(n), "x") for n in range(MAX_ATTRIBUTES + 1)],
        [KeyValue(key="k", value=AnyValue(array_value=ArrayValue()))],
        [KeyValue(key="k", value=AnyValue(bytes_value=b"x"))],
        [KeyValue(key="k")],
    ],
    ids=["long value", "long key", "many", "array", "bytes", "none"],
)
def test_attributes_are_bounded(attributes: list[KeyValue]) -> None:
    assert reason(gauge(attributes=attributes)) is Reason.BAD_ATTRIBUTES


def test_series_that_differ_in_any_attribute_stay_apart() -> None:
    values = [
        AnyValue(string_value="x"),
        AnyValue(int_value=1),
        AnyValue(bool_value=True),
        AnyValue(double_value=0.5),
    ]
    reading = read(*(gauge(attributes=[KeyValue(key="k", value=value)]) for value in values))
    assert [point.attributes for point in reading.points] == [
        (("k", "x"),),
        (("k", "1"),),
        (("k", "true"),),
        (("k", "0.5"),),
    ]


def test_the_order_of_attributes_makes_no_other_series() -> None:
    pair = [text("a", "1"), text("b", "2")]
    one, two = read(gauge(attributes=pair), gauge(attributes=pair[::-1])).points
    assert one == two


@pytest.mark.parametrize(
    ("resource", "pod"),
    [
        ([text("k8s.pod.name", "chat-0"), text("service.instance.id", "i")], "chat-0"),
        ([text("service.instance.id", "i")], "i"),
        ([text("k8s.pod.name", ""), text("service.instance.id", "i")], "i"),
    ],
)
def test_the_pod_is_the_pod_or_else_the_instance(resource: list[KeyValue], pod: str) -> None:
    (point,) = read(gauge(), resource=tuple(resource)).points
    assert point.source == Source("team/chat", pod)


@pytest.mark.parametrize("pod", ["", "x" * (MAX_ATTRIBUTE_CHARS + 1)])
def test_a_pod_without_a_proper_name_is_rejected(pod: str) -> None:
    resource = (text("k8s.pod.name", pod), text("service.name", "chat"))
    assert reason(gauge(), resource=resource) is Reason.NO_POD


def test_only_the_fleet_s_token_lets_resources_name_the_service() -> None:
    resource = (
        text("service.namespace", "team"),
        text("service.name", "batch"),
        text("k8s.pod.name", "batch-0"),
    )
    (own,) = read(gauge(), resource=resource).points
    (named,) = read(gauge(), resource=resource, identity=str(FLEET)).points
    assert own.source.service == "team/chat"
    assert named.source.service == "team/batch"
    for left_out in resource[:2]:
        rest = tuple(item for item in resource if item is not left_out)
        assert reason(gauge(), resource=rest, identity=str(FLEET)) is Reason.NO_SERVICE


def test_reasons_are_told_with_their_numbers() -> None:
    assert in_words(Rejected()) == ""
    rejected = Rejected({Reason.NO_POD: 1, Reason.BAD_VALUE: 3})
    assert in_words(rejected) == f"3 points: {Reason.BAD_VALUE}; 1 points: {Reason.NO_POD}"


@given(
    values=st.lists(st.floats(width=64), max_size=20),
    temporality=st.sampled_from(sorted(AggregationTemporality.values())),
    time_ns=st.integers(0, 2**64 - 1),
)
def test_whatever_is_taken_can_be_looked_at(
    values: list[float], temporality: AggregationTemporality, time_ns: int
) -> None:
    windows = Windows(window_s=10, stale_s=5)
    for value in values:
        metric = counter(value, temporality)
        metric.sum.data_points[0].time_unix_nano = time_ns
        windows.add(read(metric, gauge(as_double=value)).points, now_s=1)
    snapshot = windows.snapshot(Source("team/chat", "chat-0"), now_s=1)
    assert all(math.isfinite(value) for value in snapshot.gauges.values())
    assert all(math.isfinite(value) and value >= 0 for value in snapshot.rises.values())
