"""Meters: the contract's metrics, fed from the scheduler's snapshots.

Every instrument is made from `superinfer_contract.metrics` alone. What the snapshot holds as totals
and levels is read from the last one whenever a reader collects, so nothing is lost between
collections; its samples (first tokens, finished requests) are recorded as they come. What was
promised is told from the start, and what is judged counts from zero, so that the first miss is a
rise that rates can see. Histograms have each class's own objective among their bucket edges: the
share below it is then exact.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product

from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation
from superinfer_contract import metrics
from superinfer_contract.metrics import (
    DUPLEX,
    Attribute,
    Direction,
    Kind,
    Metric,
    Objective,
    Outcome,
    Tier,
)
from superinfer_contract.slo import SloClass

from superinfer_runtime.telemetry.snapshot import EngineSnapshot, LinkSnapshot

Reading = Iterable[tuple[float | None, dict[Attribute, str]]]
Read = Callable[[EngineSnapshot], Reading]

# How each observable metric is read from a snapshot; None: not known yet, no point is sent.
_READ: dict[str, Read] = {
    metrics.SLO_MAX_LAG.name: lambda s: [
        (lag_s, {Attribute.SLO_CLASS: name}) for name, lag_s in s.max_lag_s.items()
    ],
    metrics.SLO_CLASS_SHARE.name: lambda s: [
        (share, {Attribute.SLO_CLASS: name}) for name, share in s.class_shares.items()
    ],
    metrics.REQUESTS.name: lambda s: [
        (s.num_running, {Attribute.STATE: "running"}),
        (s.num_waiting, {Attribute.STATE: "waiting"}),
        (s.num_rotary, {Attribute.STATE: "rotary"}),
    ],
    metrics.ROTATIONS.name: lambda s: _by_direction(s.out.rotations, s.into.rotations),
    metrics.ROTATION_BYTES.name: lambda s: _by_direction(s.out.bytes, s.into.bytes),
    metrics.ROTATION_TIME.name: lambda s: _by_direction(s.out.busy_s, s.into.busy_s),
    metrics.ROTATION_STALLS.name: lambda s: [(s.rotation_stalls, {})],
    metrics.LINK_BANDWIDTH.name: lambda s: _by_direction(
        s.out.bandwidth_bytes_per_s, s.into.bandwidth_bytes_per_s
    ),
    metrics.LINK_CALIBRATED.name: lambda s: _calibrated(s.link),
    metrics.LINK_CROSSOVER.name: lambda s: [(s.link.crossover_bytes if s.link else None, {})],
    metrics.COPY_FAILURES.name: lambda s: [(s.copy_failures, {})],
    metrics.KV_BUDGET.name: lambda s: _by_tier(s.hbm.budget_bytes, s.dram.budget_bytes),
    metrics.KV_BUDGET_MAX.name: lambda s: _by_tier(s.hbm.max_bytes, s.dram.max_bytes),
    metrics.KV_USED.name: lambda s: _by_tier(s.hbm.used_bytes, s.dram.used_bytes),
    metrics.KV_HEADROOM.name: lambda s: _by_tier(s.hbm.headroom_bytes, s.dram.headroom_bytes),
    metrics.RECOMPUTE_PREEMPTIONS.name: lambda s: [(s.recompute_preemptions, {})],
    metrics.STEP_TIME.name: lambda s: [(s.step_time_s, {})],
}


class SloMeters:
    """Takes snapshots and shows them through ``meter``'s instruments.

    Args:
        meter: makes the instruments.
        classes: the service's SLO classes.
        model: what the model is called.
        rotation: whether KV can rotate as far as is known before the first snapshot; None: nobody
            asked for it.
    """

    def __init__(
        self,
        meter: Meter,
        classes: Sequence[SloClass],
        model: str,
        rotation: bool | None = None,
    ) -> None:
        self._last: EngineSnapshot | None = None
        self._model = model
        self._rotation = rotation
        ttft_edges = [slo_class.ttft_s for slo_class in classes]
        tbt_edges = [slo_class.tbt_s for slo_class in classes]
        self._ttft = _histogram(meter, metrics.TTFT, ttft_edges)
        self._tpot = _histogram(meter, metrics.TPOT, tbt_edges)
        self._duration = _histogram(meter, metrics.REQUEST_DURATION, ())
        judged = metrics.SLO_REQUESTS
        self._judged = meter.create_counter(judged.name, judged.unit, judged.description)
        for slo_class, objective, outcome in product(classes, Objective, Outcome):
            self._judged.add(0, _judgement(slo_class.name, objective, outcome))
        _observe(meter, metrics.SLO_TARGET, lambda: _targets(classes))
        _observe(meter, metrics.SLO_OBJECTIVE, lambda: _objectives(classes))
        _observe(meter, metrics.ROTATION_ENABLED, self._rotates)
        for metric in metrics.ALL:
            if metric.name in _READ:
                _observe(meter, metric, partial(self._read_last, _READ[metric.name]))

    def record(self, snapshot: EngineSnapshot) -> None:
        """Take in one step's snapshot."""
        for first in snapshot.ttft_samples:
            self._ttft.record(first.ttft_s, self._labels(first.slo_class))
            self._judge(first.slo_class, Objective.TTFT, first.good)
        for finish in snapshot.finish_samples:
            labels = self._labels(finish.slo_class)
            if finish.tbt_s is not None:
                self._tpot.record(finish.tbt_s, labels)
            self._duration.record(finish.duration_s, labels)
            self._judge(finish.slo_class, Objective.TBT, finish.tbt_good)
            self._judge(finish.slo_class, Objective.JOINT, finish.joint_good)
        self._last = snapshot

    def _judge(self, slo_class: str, objective: Objective, good: bool) -> None:
        outcome = Outcome.GOOD if good else Outcome.BAD
        self._judged.add(1, _judgement(slo_class, objective, outcome))

    def _labels(self, slo_class: str) -> dict[str, str]:
        return {Attribute.SLO_CLASS.value: slo_class, Attribute.MODEL.value: self._model}

    def _read_last(self, read: Read) -> Reading:
        return [] if self._last is None else read(self._last)

    def _rotates(self) -> Reading:
        if self._rotation is None:
            return []
        if self._last is None:
            return [(int(self._rotation), {})]
        return [(int(self._last.rotation_off_reason is None), {})]


def _observe(meter: Meter, metric: Metric, read: Callable[[], Reading]) -> None:
    def observations(_: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(value, {key.value: text for key, text in attributes.items()})
            for value, attributes in read()
            if value is not None
        ]

    create = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }[metric.kind]
    create(metric.name, [observations], metric.unit, metric.description)


def _judgement(slo_class: str, objective: Objective, outcome: Outcome) -> dict[str, str]:
    return {
        Attribute.SLO_CLASS.value: slo_class,
        Attribute.OBJECTIVE.value: objective.value,
        Attribute.OUTCOME.value: outcome.value,
    }


def _targets(classes: Sequence[SloClass]) -> Reading:
    return [(slo_class.target, {Attribute.SLO_CLASS: slo_class.name}) for slo_class in classes]


def _objectives(classes: Sequence[SloClass]) -> Reading:
    return [
        (allowed_s, {Attribute.SLO_CLASS: slo_class.name, Attribute.OBJECTIVE: objective.value})
        for slo_class in classes
        for objective, allowed_s in (
            (Objective.TTFT, slo_class.ttft_s),
            (Objective.TBT, slo_class.tbt_s),
        )
    ]


def _histogram(meter: Meter, metric: Metric, own_edges: Iterable[float]) -> Histogram:
    edges = sorted({float(edge) for edge in (*metric.buckets, *own_edges)})
    return meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=edges
    )


def _by_direction(out: float | None, into: float | None) -> Reading:
    return [
        (out, {Attribute.DIRECTION: Direction.OUT.value}),
        (into, {Attribute.DIRECTION: Direction.IN.value}),
    ]


def _calibrated(link: LinkSnapshot | None) -> Reading:
    if link is None:
        return []
    return [
        *_by_direction(link.out_bytes_per_s, link.in_bytes_per_s),
        (link.duplex_bytes_per_s, {Attribute.DIRECTION: DUPLEX}),
    ]


def _by_tier(hbm: float, dram: float) -> Reading:
    return [
        (hbm, {Attribute.TIER: Tier.HBM.value}),
        (dram, {Attribute.TIER: Tier.DRAM.value}),
    ]
