"""The operator's own metrics: a typed method for each thing that happens.

They can always be scraped (`metrics_route`), and are pushed as well where the standard
``OTEL_EXPORTER_OTLP_*`` variables say so.
"""

import os
from collections.abc import Mapping
from itertools import product

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Counter
from opentelemetry.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from superinfer_operator.self_telemetry import instruments, push
from superinfer_operator.self_telemetry.instruments import Instrument, Label
from superinfer_operator.telemetry.ingest import Outcome, Receipt, Transport

PATH = "/metrics"


class OperatorMetrics:
    """The instruments of one operator process.

    >>> metrics = OperatorMetrics.create()
    >>> metrics.reconciled("ok", duration_s=0.02)
    """

    def __init__(self, provider: MeterProvider, registry: CollectorRegistry) -> None:
        self._provider = provider
        self._registry = registry
        self._meter = provider.get_meter("superinfer_operator")
        self._reconciles = self._counter(instruments.RECONCILES)
        self._api_requests = self._counter(instruments.API_REQUESTS)
        self._decisions = self._counter(instruments.DECISIONS)
        self._otlp_points = self._counter(instruments.OTLP_POINTS)
        self._otlp_requests = self._counter(instruments.OTLP_REQUESTS)
        self._otlp_series = self._gauge(instruments.OTLP_SERIES)
        self._services = self._gauge(instruments.SERVICES)
        self._pods_silent = self._gauge(instruments.PODS_SILENT)
        self._watch_lag = self._gauge(instruments.WATCH_LAG)
        duration = instruments.RECONCILE_DURATION
        self._reconcile_duration = self._meter.create_histogram(
            duration.name,
            duration.unit,
            duration.description,
            explicit_bucket_boundaries_advisory=duration.buckets,
        )
        self._count_from_zero()

    @classmethod
    def create(cls, environment: Mapping[str, str] = os.environ) -> "OperatorMetrics":
        """Return metrics that can be scraped, and are pushed if ``environment`` says where to.

        Raises:
            ConfigError: it names a protocol that is not spoken.
        """
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        pushing = push.metric_reader(environment)
        readers = [PrometheusMetricReader(registry=registry, scope_info_enabled=False)]
        provider = MeterProvider(
            [*readers, *([] if pushing is None else [pushing])],
            push.resource(),
            shutdown_on_exit=False,
        )
        return cls(provider, registry)

    def reconciled(self, outcome: str, duration_s: float) -> None:
        """A reconciliation ended."""
        self._reconciles.add(1, {Label.OUTCOME: outcome})
        self._reconcile_duration.record(duration_s, {Label.OUTCOME: outcome})

    def api_called(self, verb: str, resource: str, code: int) -> None:
        """The Kubernetes API answered with HTTP status ``code`` (0: not at all)."""
        labels: dict[str, str] = {Label.VERB: verb, Label.RESOURCE: resource, Label.CODE: str(code)}
        self._api_requests.add(1, labels)

    def decided(self, rung: str, outcome: str) -> None:
        """The ladder decided."""
        self._decisions.add(1, {Label.RUNG: rung, Label.OUTCOME: outcome})

    def received(self, receipt: Receipt) -> None:
        """A request with telemetry came."""
        labels: dict[str, str] = {
            Label.TRANSPORT: receipt.transport,
            Label.OUTCOME: receipt.outcome,
        }
        self._otlp_requests.add(1, labels)
        if receipt.outcome is Outcome.ACCEPTED:
            self._otlp_points.add(receipt.accepted_points, {Label.OUTCOME: "accepted"})
            self._otlp_points.add(receipt.rejected_points, {Label.OUTCOME: "rejected"})

    def series_held(self, count: int) -> None:
        """So many telemetry series are held."""
        self._otlp_series.set(count)

    def services(self, count: int) -> None:
        """So many services are kept."""
        self._services.set(count)

    def pods_silent(self, count: int) -> None:
        """So many running pods do not report."""
        self._pods_silent.set(count)

    def watch_lag(self, lag_s: float) -> None:
        """The operator is so far behind the API server."""
        self._watch_lag.set(lag_s)

    def metrics_route(self) -> Route:
        """Return the route that Prometheus scrapes."""

        # In the event loop, not in a thread: the reader does not bear two scrapes at once.
        async def scrape(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self._registry), headers={"content-type": content_type})

        return Route(PATH, scrape)

    def shutdown(self) -> None:
        """Push what is left, and stop; blocks for a few seconds at most."""
        push.end(self._provider.shutdown)

    def _count_from_zero(self) -> None:
        """What has not happened is told too: the first error is then a rise that rates can see."""
        for outcome in ("ok", "error"):
            self._reconciles.add(0, {Label.OUTCOME: outcome})
        for outcome in ("accepted", "rejected"):
            self._otlp_points.add(0, {Label.OUTCOME: outcome})
        for transport, result in product(Transport, Outcome):
            labels: dict[str, str] = {Label.TRANSPORT: transport, Label.OUTCOME: result}
            self._otlp_requests.add(0, labels)

    def _counter(self, instrument: Instrument) -> Counter:
        return self._meter.create_counter(instrument.name, instrument.unit, instrument.description)

    def _gauge(self, instrument: Instrument) -> Gauge:
        return self._meter.create_gauge(instrument.name, instrument.unit, instrument.description)
