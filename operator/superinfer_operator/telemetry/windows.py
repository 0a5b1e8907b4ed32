"""Sliding windows over what the pods of one service report.

`Windows.add` takes points as they arrive; `Windows.snapshot` answers what a pod did in the last
``window_s`` seconds. Time is an argument. A sender cannot fill the memory: pods and their series
are capped (what is beyond is rejected by name), and pods that fell silent are forgotten.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from superinfer_contract.metrics import SLO_REQUESTS, Attribute, Metric, Objective, Outcome

from superinfer_operator.telemetry.points import Attributes, Point, Shape, Source
from superinfer_operator.telemetry.rejection import Reason, Rejected
from superinfer_operator.telemetry.series import (
    CumulativeSeries,
    DeltaSeries,
    GaugeSeries,
    Horizon,
)
from superinfer_operator.telemetry.series_room import SeriesRoom

MAX_SERIES_OF_A_POD = 1024
MAX_PODS = 2048
FORGET_AFTER_WINDOWS = 10

Key = tuple[str, Attributes]
Series = CumulativeSeries | DeltaSeries | GaugeSeries

_SERIES: Mapping[Shape, type[Series]] = {
    Shape.CUMULATIVE: CumulativeSeries,
    Shape.DELTA: DeltaSeries,
    Shape.GAUGE: GaugeSeries,
}


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
    room: SeriesRoom
    series: dict[tuple[Shape, Key], Series] = field(default_factory=dict)

    def add(self, point: Point, now_s: float, horizon: Horizon) -> Reason | None:
        key = (point.shape, (point.metric, point.attributes))
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= MAX_SERIES_OF_A_POD:
                return Reason.TOO_MANY_SERIES
            if (full := self.room.take()) is not None:
                return full
            series = self.series[key] = _SERIES[point.shape]()
        if series.add(point, now_s, horizon):
            self.heard_s = now_s
        return None


class Windows:
    """The windows of one service.

    >>> windows = Windows(window_s=30, stale_s=15)
    >>> windows.add(read_points(request, "team/chat").points, now_s=clock())
    >>> windows.snapshot(Source("team/chat", "chat-0"), now_s=clock()).shares
    """

    def __init__(self, window_s: float, stale_s: float, room: SeriesRoom | None = None) -> None:
        self._horizon = Horizon(window_s, stale_s)
        self._room = room or SeriesRoom.of_all().of_a_service()
        self._pods: dict[Source, _Pod] = {}
        self._sweep_s = 0.0

    def update(self, window_s: float, stale_s: float) -> None:
        """Look further back, or less far, from now on."""
        self._horizon = Horizon(window_s, stale_s)

    def add(self, points: Iterable[Point], now_s: float) -> Rejected:
        """Take points that arrived at ``now_s``, in any order; returns what was too much."""
        self._sweep(now_s)
        rejected = Rejected()
        for point in sorted(points, key=lambda point: point.time_ns):
            pod = self._pods.get(point.source)
            if pod is None:
                if len(self._pods) >= MAX_PODS:
                    rejected[Reason.TOO_MANY_PODS] += 1
                    continue
                pod = self._pods[point.source] = _Pod(now_s, self._room)
            reason = pod.add(point, now_s, self._horizon)
            if reason is not None:
                rejected[reason] += 1
        return rejected

    def sources(self, service: str) -> list[Source]:
        """The pods of ``service`` that were heard of lately."""
        return sorted(
            (source for source in self._pods if source.service == service),
            key=lambda source: source.pod,
        )

    def keep_only(self, pods: Collection[str]) -> None:
        """Forget all pods but ``pods``: the others are gone."""
        for source in [source for source in self._pods if source.pod not in pods]:
            self._forget(source)

    def snapshot(self, source: Source, now_s: float) -> Snapshot:
        """What ``source`` reported; empty for one that was never heard of."""
        window_s, stale_s = self._horizon.window_s, self._horizon.stale_s
        pod = self._pods.get(source)
        if pod is None:
            return Snapshot(None, {}, {}, {}, window_s)
        rises: dict[Key, float] = {}
        gauges: dict[Key, float] = {}
        for (_, key), series in pod.series.items():
            if isinstance(series, GaugeSeries):
                value = series.value(now_s, stale_s)
                if value is not None:
                    gauges[key] = value
            else:
                # A sender that changed its temporality has two series of one key.
                rises[key] = rises.get(key, 0.0) + series.rises.total(now_s, window_s)
        return Snapshot(now_s - pod.heard_s, _shares(rises), gauges, rises, window_s)

    def _forget(self, source: Source) -> None:
        self._room.give_back(len(self._pods.pop(source).series))

    def _sweep(self, now_s: float) -> None:
        if now_s < self._sweep_s:
            return
        self._sweep_s = now_s + self._horizon.stale_s
        silent_s = FORGET_AFTER_WINDOWS * max(self._horizon.window_s, self._horizon.stale_s)
        for source in [s for s, pod in self._pods.items() if now_s - pod.heard_s > silent_s]:
            self._forget(source)


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
