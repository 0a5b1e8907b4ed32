"""Sliding windows over all that the runtimes report, per service and pod.

`Windows.add` takes points as they arrive; `Windows.snapshot` answers what a pod did in the last
``window_s`` seconds. Time is an argument. A sender cannot fill the memory: series per pod are
capped, and pods that fell silent are forgotten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from superinfer_contract.metrics import SLO_REQUESTS, Attribute, Metric, Objective, Outcome

from superinfer_operator.telemetry.points import Attributes, Point, Shape, Source
from superinfer_operator.telemetry.series import CounterSeries, GaugeSeries

MAX_SERIES_OF_A_POD = 1024
MAX_PODS = 4096
FORGET_AFTER_WINDOWS = 10

Key = tuple[str, Attributes]


@dataclass(frozen=True, slots=True)
class Share:
    """``good`` requests out of ``total``."""

    good: int
    total: int

    @property
    def attainment(self) -> float | None:
        """Share of good requests; None when none was judged."""
        return self.good / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one pod reported, seen from one moment."""

    age_s: float | None  # since the last news; None: never
    shares: Mapping[tuple[str, Objective], Share]
    gauges: Mapping[Key, float]  # without the stale ones
    rises: Mapping[Key, float]  # of counters within the window
    window_s: float

    def gauge(self, metric: Metric, value: str | None = None) -> float | None:
        """Last value of ``metric``'s series, whose one attribute is ``value`` (if it has one)."""
        return self.gauges.get(_key(metric, value))

    def rise(self, metric: Metric, value: str | None = None) -> float:
        """How much a counter rose in the window; 0 when it is unknown."""
        return self.rises.get(_key(metric, value), 0.0)

    def rate(self, metric: Metric, value: str | None = None) -> float:
        """`rise` a second."""
        return self.rise(metric, value) / self.window_s


def _key(metric: Metric, value: str | None) -> Key:
    if value is None:
        return metric.name, ()
    return metric.name, ((metric.attributes[0].value, value),)


@dataclass(slots=True)
class _Pod:
    heard_s: float
    counters: dict[Key, CounterSeries] = field(default_factory=dict)
    gauges: dict[Key, GaugeSeries] = field(default_factory=dict)


class Windows:
    """The windows of all services.

    >>> windows = Windows(window_s=30, stale_s=15)
    >>> windows.add(read_points(request), now_s=clock())
    >>> windows.snapshot(Source("chat", "chat-0"), now_s=clock()).shares
    """

    def __init__(self, window_s: float, stale_s: float) -> None:
        self._window_s = window_s
        self._stale_s = stale_s
        self._pods: dict[Source, _Pod] = {}

    def add(self, points: Iterable[Point], now_s: float) -> None:
        """Take points that arrived at ``now_s``, in any order."""
        self._forget(now_s)
        for point in sorted(points, key=lambda point: point.time_ns):
            pod = self._pods.get(point.source)
            if pod is None:
                if len(self._pods) >= MAX_PODS:
                    continue
                pod = self._pods[point.source] = _Pod(heard_s=now_s)
            series = self._series(pod, point)
            if series is not None and series.add(point, now_s):
                pod.heard_s = now_s

    def sources(self, service: str) -> list[Source]:
        """The pods of ``service`` that were heard of lately."""
        return sorted(
            (source for source in self._pods if source.service == service),
            key=lambda source: source.pod,
        )

    def snapshot(self, source: Source, now_s: float) -> Snapshot:
        """What ``source`` reported; empty for one that was never heard of."""
        pod = self._pods.get(source)
        if pod is None:
            return Snapshot(None, {}, {}, {}, self._window_s)
        rises = {key: series.total(now_s) for key, series in pod.counters.items()}
        gauges = {key: series.value(now_s) for key, series in pod.gauges.items()}
        return Snapshot(
            age_s=now_s - pod.heard_s,
            shares=_shares(rises),
            gauges={key: value for key, value in gauges.items() if value is not None},
            rises=rises,
            window_s=self._window_s,
        )

    def _series(self, pod: _Pod, point: Point) -> CounterSeries | GaugeSeries | None:
        key = (point.metric, point.attributes)
        known = pod.gauges.get(key) if point.shape is Shape.GAUGE else pod.counters.get(key)
        if known is not None:
            return known
        if len(pod.counters) + len(pod.gauges) >= MAX_SERIES_OF_A_POD:
            return None
        if point.shape is Shape.GAUGE:
            return pod.gauges.setdefault(key, GaugeSeries(self._stale_s))
        return pod.counters.setdefault(key, CounterSeries(self._window_s))

    def _forget(self, now_s: float) -> None:
        silent_s = FORGET_AFTER_WINDOWS * max(self._window_s, self._stale_s)
        for source in [s for s, pod in self._pods.items() if now_s - pod.heard_s > silent_s]:
            del self._pods[source]


def _shares(rises: Mapping[Key, float]) -> dict[tuple[str, Objective], Share]:
    counts: dict[tuple[str, Objective], dict[str, float]] = {}
    for (metric, attributes), rise in rises.items():
        known = dict(attributes)
        objective = known.get(Attribute.OBJECTIVE)
        if metric != SLO_REQUESTS.name or objective not in set(Objective):
            continue
        of_class = counts.setdefault(
            (known.get(Attribute.SLO_CLASS, ""), Objective(objective)),
            {},
        )
        outcome = known.get(Attribute.OUTCOME, "")
        of_class[outcome] = of_class.get(outcome, 0.0) + rise
    return {
        key: Share(
            good=round(count.get(Outcome.GOOD, 0.0)),
            total=round(count.get(Outcome.GOOD, 0.0) + count.get(Outcome.BAD, 0.0)),
        )
        for key, count in counts.items()
    }
