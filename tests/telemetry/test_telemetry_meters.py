"""Meters against the contract, read back with the real SDK."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from superinfer_contract import metrics
from superinfer_contract.slo import SloClass
from superinfer_runtime.telemetry.meters import SloMeters
from superinfer_runtime.telemetry.snapshot import EngineSnapshot, LinkSnapshot

DIRECTIONS = ("out", "in", metrics.DUPLEX)
CLASSES = (
    SloClass(name="chat", ttft_s=0.37, tbt_s=0.04, default=True),
    SloClass(name="batch", ttft_s=60, tbt_s=1),
)


class Read:
    """Meters and what a reader sees of them."""

    def __init__(self, rotation: bool | None = True) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.meters = SloMeters(self.provider.get_meter("test"), CLASSES, "tiny", rotation)

    def metrics(self) -> dict[str, Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        return {
            frozenset((point.attributes or {}).items()): point
            for point in self.metrics()[name].data.data_points
        }

    def values(self, name: str) -> list[float]:
        found = self.metrics().get(name)
        return [point.value for point in found.data.data_points] if found else []


@pytest.fixture
def read() -> Iterator[Read]:
    made = Read()
    yield made
    made.provider.shutdown()


def labels(**attributes: str) -> frozenset[tuple[str, Any]]:
    keys = {
        "slo": metrics.Attribute.SLO_CLASS,
        "objective": metrics.Attribute.OBJECTIVE,
        "outcome": metrics.Attribute.OUTCOME,
        "tier": metrics.Attribute.TIER,
        "direction": metrics.Attribute.DIRECTION,
        "state": metrics.Attribute.STATE,
        "model": metrics.Attribute.MODEL,
    }
    return frozenset((keys[name].value, value) for name, value in attributes.items())


def test_all_and_only_the_contracts_metrics_are_sent(read: Read, snapshot: EngineSnapshot) -> None:
    read.meters.record(snapshot)
    sent = read.metrics()
    assert set(sent) == {metric.name for metric in metrics.ALL}
    for metric in metrics.ALL:
        assert sent[metric.name].unit == metric.unit
        assert sent[metric.name].description == metric.description
        kind = type(sent[metric.name].data).__name__
        assert kind == {"counter": "Sum", "gauge": "Gauge", "histogram": "Histogram"}[metric.kind]
        if metric.kind is metrics.Kind.COUNTER:
            assert sent[metric.name].data.is_monotonic
        allowed = {attribute.value for attribute in metric.attributes}
        for point in sent[metric.name].data.data_points:
            assert set(point.attributes or {}) == allowed


def test_before_the_first_snapshot_only_what_was_promised_is_told(read: Read) -> None:
    promised = {metrics.SLO_TARGET, metrics.SLO_OBJECTIVE}
    told = {*promised, metrics.SLO_REQUESTS, metrics.ROTATION_ENABLED}
    assert set(read.metrics()) == {metric.name for metric in told}
    assert read.points(metrics.SLO_TARGET.name)[labels(slo="chat")].value == 0.95
    allowed = read.points(metrics.SLO_OBJECTIVE.name)
    assert allowed[labels(slo="batch", objective="ttft")].value == 60
    assert allowed[labels(slo="chat", objective="tbt")].value == 0.04


def test_what_is_judged_counts_from_zero(read: Read) -> None:
    judged = read.points(metrics.SLO_REQUESTS.name)
    assert len(judged) == len(CLASSES) * len(metrics.Objective) * len(metrics.Outcome)
    assert {point.value for point in judged.values()} == {0}


@pytest.mark.parametrize(
    ("asked", "off", "told"),
    [(None, None, []), (True, None, [1]), (True, "no DRAM", [0]), (False, None, [1])],
)
def test_rotation_is_told_where_it_was_asked_for(
    snapshot: EngineSnapshot, asked: bool | None, off: str | None, told: list[int]
) -> None:
    read = Read(asked)
    assert read.values(metrics.ROTATION_ENABLED.name) == ([] if asked is None else [asked])
    read.meters.record(replace(snapshot, rotation_off_reason=off))
    assert read.values(metrics.ROTATION_ENABLED.name) == told
    read.provider.shutdown()


def test_levels_and_totals_are_the_last_snapshots(read: Read, snapshot: EngineSnapshot) -> None:
    read.meters.record(replace(snapshot, num_rotary=9))
    read.meters.record(snapshot)
    states = read.points(metrics.REQUESTS.name)
    assert states[labels(state="rotary")].value == 1
    assert states[labels(state="running")].value == 3
    assert read.points(metrics.ROTATION_BYTES.name)[labels(direction="in")].value == 600
    assert read.points(metrics.KV_BUDGET_MAX.name)[labels(tier="dram")].value == 1000
    assert read.points(metrics.KV_USED.name)[labels(tier="dram")].value == 500
    assert read.points(metrics.SLO_MAX_LAG.name)[labels(slo="all")].value == 1.5
    assert read.points(metrics.RECOMPUTE_PREEMPTIONS.name)[labels()].value == 5
    assert read.points(metrics.COPY_FAILURES.name)[labels()].value == 8
    calibrated = read.points(metrics.LINK_CALIBRATED.name)
    rates = {direction: calibrated[labels(direction=direction)].value for direction in DIRECTIONS}
    assert rates == {"out": 4e9, "in": 3e9, "duplex": 5e9}
    assert read.points(metrics.LINK_CROSSOVER.name)[labels()].value == 1 << 20
    # Not measured yet is not zero.
    assert list(read.points(metrics.LINK_BANDWIDTH.name)) == [labels(direction="out")]


def test_each_objective_is_counted_when_it_is_known(read: Read, snapshot: EngineSnapshot) -> None:
    read.meters.record(replace(snapshot, finish_samples=()))
    judged = read.points(metrics.SLO_REQUESTS.name)
    risen = [dict(key) for key, point in judged.items() if point.value]
    assert {point[metrics.Attribute.OBJECTIVE.value] for point in risen} == {"ttft"}
    read.meters.record(replace(snapshot, ttft_samples=()))
    judged = read.points(metrics.SLO_REQUESTS.name)
    for slo, objective, outcome in (
        ("chat", "ttft", "good"),
        ("batch", "ttft", "bad"),
        ("chat", "tbt", "good"),
        ("chat", "joint", "good"),
        ("batch", "joint", "bad"),
    ):
        assert judged[labels(slo=slo, objective=objective, outcome=outcome)].value == 1
    assert judged[labels(slo="batch", objective="joint", outcome="good")].value == 0


def test_histograms_have_the_objectives_as_edges(read: Read, snapshot: EngineSnapshot) -> None:
    read.meters.record(snapshot)
    chat = read.points(metrics.TTFT.name)[labels(slo="chat", model="tiny")]
    assert chat.explicit_bounds == tuple(sorted({*metrics.TTFT.buckets, 0.37, 60.0}))
    below = chat.explicit_bounds.index(0.37)
    assert sum(chat.bucket_counts[: below + 1]) == 1  # 0.3 s is within 0.37 s
    tpot = read.points(metrics.TPOT.name)
    assert {0.04, 1.0} <= set(tpot[labels(slo="chat", model="tiny")].explicit_bounds)
    assert labels(slo="batch", model="tiny") not in tpot  # a lone token has no gap
    duration = read.points(metrics.REQUEST_DURATION.name)[labels(slo="batch", model="tiny")]
    assert duration.explicit_bounds == metrics.REQUEST_DURATION.buckets
    assert duration.sum == 71.0


def test_before_calibration_nothing_is_claimed_of_the_link(
    read: Read, snapshot: EngineSnapshot
) -> None:
    read.meters.record(replace(snapshot, link=None))
    link = {metrics.LINK_CALIBRATED.name, metrics.LINK_CROSSOVER.name}
    assert not link & read.metrics().keys()


@pytest.mark.parametrize("link", [None, LinkSnapshot(1.0, 2.0, 3.0)])
def test_a_snapshot_survives_json(snapshot: EngineSnapshot, link: LinkSnapshot | None) -> None:
    sent = replace(snapshot, link=link)
    assert EngineSnapshot.from_dict(json.loads(json.dumps(sent.to_dict()))) == sent


@given(st.lists(st.booleans(), max_size=30))
def test_good_and_bad_add_up_to_what_was_judged(outcomes: list[bool]) -> None:
    from superinfer_runtime.telemetry.snapshot import TierSnapshot, TtftSample

    read = Read()
    tier = TierSnapshot(0, 0, 0, 0, 0, 0, 1)
    for good in outcomes:
        sample = TtftSample("chat", 1.0, good)
        read.meters.record(
            EngineSnapshot(rotation_off_reason=None, hbm=tier, dram=tier, ttft_samples=(sample,))
        )
    assert sum(read.values(metrics.SLO_REQUESTS.name)) == len(outcomes)
    read.provider.shutdown()
