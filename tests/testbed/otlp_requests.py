"""OTLP requests for tests: many series, and any request that protobuf can hold."""

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
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
from superinfer_contract.metrics import ALL, STEP_TIME, Attribute


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def gauges(pod: str, count: int, text: str = "", time_ns: int = 1) -> ExportMetricsServiceRequest:
    """Return a report of ``pod`` with ``count`` series of one gauge."""
    points = [
        NumberDataPoint(
            time_unix_nano=time_ns, as_double=1.0, attributes=[attribute("n", f"{number}{text}")]
        )
        for number in range(count)
    ]
    metric = Metric(name=STEP_TIME.name, gauge=Gauge(data_points=points))
    resource = Resource(attributes=[attribute("k8s.pod.name", pod)])
    of_pod = ResourceMetrics(resource=resource, scope_metrics=[ScopeMetrics(metrics=[metric])])
    return ExportMetricsServiceRequest(resource_metrics=[of_pod])


UINT64 = st.integers(0, 2**64 - 1)
KEYS = st.sampled_from(
    [*(each.value for each in Attribute), "k8s.pod.name", "service.name", "service.namespace"]
) | st.text(max_size=5)
VALUES: st.SearchStrategy[AnyValue] = st.deferred(
    lambda: (
        st.builds(AnyValue, string_value=st.text(max_size=400))
        | st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1))
        | st.builds(AnyValue, double_value=st.floats())
        | st.builds(AnyValue, bytes_value=st.binary(max_size=5))
        | st.builds(
            AnyValue, array_value=st.builds(ArrayValue, values=st.lists(VALUES, max_size=2))
        )
        | st.just(AnyValue())
    )
)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=KEYS, value=VALUES), max_size=20)
FLAGS = st.sampled_from([0, 1, 2**32 - 1])
POINTS = st.lists(
    st.builds(
        NumberDataPoint,
        attributes=ATTRIBUTES,
        start_time_unix_nano=UINT64,
        time_unix_nano=UINT64,
        as_double=st.floats(),
        flags=FLAGS,
    )
    | st.builds(
        NumberDataPoint,
        attributes=ATTRIBUTES,
        time_unix_nano=UINT64,
        as_int=st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=4,
)
NAMES = st.sampled_from([metric.name for metric in ALL]) | st.text(max_size=5)
METRICS = (
    st.builds(Metric, name=NAMES, gauge=st.builds(Gauge, data_points=POINTS))
    | st.builds(
        Metric,
        name=NAMES,
        sum=st.builds(
            Sum,
            data_points=POINTS,
            aggregation_temporality=st.integers(0, 3),
            is_monotonic=st.booleans(),
        ),
    )
    | st.builds(
        Metric,
        name=NAMES,
        histogram=st.builds(
            Histogram,
            data_points=st.lists(
                st.builds(HistogramDataPoint, bucket_counts=st.lists(UINT64, max_size=3)),
                max_size=2,
            ),
        ),
    )
    | st.builds(Metric, name=NAMES)
)
REQUESTS = st.builds(
    ExportMetricsServiceRequest,
    resource_metrics=st.lists(
        st.builds(
            ResourceMetrics,
            resource=st.builds(Resource, attributes=ATTRIBUTES),
            scope_metrics=st.lists(
                st.builds(ScopeMetrics, metrics=st.lists(METRICS, max_size=3)), max_size=2
            ),
        ),
        max_size=3,
    ),
)
"""Any request, of known and unknown metrics, with every value that protobuf can hold."""


@st.composite
def mutated(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of ``bodies`` with some changed, left out, or put in."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        end = draw(st.integers(at, min(len(body), at + 8)))
        body[at:end] = draw(st.binary(max_size=8))
    return bytes(body)
