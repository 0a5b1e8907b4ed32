"""What 10,000 series cost the operator's telemetry receiver: memory, and time for a report.

The receiver is a process of its own; ten services report a thousand series each, over and over, so
that the windows fill as they do in a cluster.
"""

import multiprocessing
import time
from multiprocessing.connection import Connection
from statistics import median

import httpx
import psutil
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from superinfer_contract.metrics import SLO_REQUESTS
from superinfer_operator.telemetry.receiver import PATH, PROTOBUF
from superinfer_operator.tokens import Purpose, service_token

NUM_SERVICES = 10
SERIES_OF_A_SERVICE = 1000
NUM_REPORTS = 20
KEY = b"k" * 32
MIB = 2**20


def measure() -> dict[str, object]:
    """Return the figures."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_receive, args=(theirs,), daemon=True)
    process.start()
    try:
        url: str = ours.recv()
        memory = psutil.Process(process.pid).memory_info
        before = memory().rss
        times_ms: list[float] = []
        with httpx.Client(base_url=url, trust_env=False) as http:
            for number in range(NUM_REPORTS):
                for service in range(NUM_SERVICES):
                    times_ms.append(_report(http, service, number))
                ours.send("held")
                held = ours.recv()
        return {
            "series_sent": NUM_SERVICES * SERIES_OF_A_SERVICE,
            "series_held": held,
            "reports": len(times_ms),
            "report_of_1000_series_ms": {
                "p50": round(median(times_ms), 1),
                "max": round(max(times_ms), 1),
            },
            "rss_mib_before": round(before / MIB),
            "rss_mib_after": round(memory().rss / MIB),
        }
    finally:
        ours.send("end")
        process.join(10)


def _report(http: httpx.Client, service: int, number: int) -> float:
    body = _request(number).SerializeToString()
    token = service_token(KEY, Purpose.OTLP, "team", f"s{service}")
    headers = {"authorization": f"Bearer {token}", "content-type": PROTOBUF}
    start_s = time.perf_counter()
    answer = http.post(PATH, content=body, headers=headers)
    took_ms = (time.perf_counter() - start_s) * 1000
    told = ExportMetricsServiceResponse.FromString(answer.content)
    if answer.status_code != 200 or told.HasField("partial_success"):
        raise RuntimeError(f"a report was not taken: {answer.status_code} {told}")
    return took_ms


def _request(number: int) -> ExportMetricsServiceRequest:
    now_ns = time.time_ns()
    points = [
        NumberDataPoint(
            start_time_unix_nano=1,
            time_unix_nano=now_ns,
            as_int=number,
            attributes=[
                _attribute("superinfer.slo.class", f"class-{series}"),
                _attribute("superinfer.slo.objective", "ttft"),
                _attribute("superinfer.slo.outcome", "good"),
            ],
        )
        for series in range(SERIES_OF_A_SERVICE)
    ]
    counted = Sum(
        data_points=points,
        aggregation_temporality=AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE,
        is_monotonic=True,
    )
    metric = Metric(name=SLO_REQUESTS.name, sum=counted)
    resource = Resource(attributes=[_attribute("k8s.pod.name", "pod-0")])
    of_pod = ResourceMetrics(resource=resource, scope_metrics=[ScopeMetrics(metrics=[metric])])
    return ExportMetricsServiceRequest(resource_metrics=[of_pod])


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _receive(parent: Connection) -> None:
    import asyncio

    asyncio.run(_serve(parent))


async def _serve(parent: Connection) -> None:
    import asyncio

    from superinfer_operator.telemetry.authentication import service_tokens
    from superinfer_operator.telemetry.http_server import bind
    from superinfer_operator.telemetry.ingest import Intake
    from superinfer_operator.telemetry.receiver import serving
    from superinfer_operator.telemetry.registry import Registry

    registry = Registry()
    for service in range(NUM_SERVICES):
        registry.register(f"team/s{service}", window_s=30, stale_s=17)
    intake = Intake(
        service_tokens(lambda: [KEY]), lambda points: registry.add(points, time.monotonic())
    )
    async with serving(intake, bind("127.0.0.1", 0)) as url:
        parent.send(url)
        while await asyncio.to_thread(parent.recv) != "end":
            parent.send(registry.num_series)
