"""The meters as Prometheus scrapes them, at vLLM's own ``/metrics``.

vLLM answers there from prometheus_client's default registry, so ours is one more collector in it
and needs no route. It answers in a pool of threads, and the exporter does not bear two scrapes at
once: the collector lets one in at a time.
"""

import threading
from collections.abc import Iterable

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.registry import Collector


class OneAtATime(Collector):
    """What ``inner`` holds, for one scrape after the other."""

    def __init__(self, inner: CollectorRegistry) -> None:
        self._inner = inner
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not collect yet."""
        return []

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            return list(self._inner.collect())


def reader(registry: CollectorRegistry = REGISTRY) -> PrometheusMetricReader:
    """Return a reader whose metrics are part of ``registry``."""
    own = CollectorRegistry()
    registry.register(OneAtATime(own))
    return PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=own)
