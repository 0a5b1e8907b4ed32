"""The stat-logger plug-in between vLLM's statistics and the meters (imports vLLM)."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from superinfer_runtime.telemetry import active
from superinfer_runtime.telemetry.meters import SloMeters
from superinfer_runtime.telemetry.snapshot import EngineSnapshot

stat_logger = pytest.importorskip("superinfer_runtime.engine.stat_logger")


class Meters(SloMeters):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[EngineSnapshot] = []

    def record(self, snapshot: EngineSnapshot) -> None:
        self.seen.append(snapshot)


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    active.activate(made)
    yield made
    active.activate(None)


def test_a_snapshot_in_the_statistics_reaches_the_meters(
    meters: Meters, snapshot: EngineSnapshot
) -> None:
    logger = stat_logger.SloStatLogger(vllm_config=None)
    stats = SimpleNamespace(kv_connector_stats={"superinfer": snapshot.to_dict()})
    logger.record(stats, None, mm_cache_stats=None, engine_idx=0)
    assert meters.seen == [snapshot]


@pytest.mark.parametrize(
    "stats",
    [
        None,
        SimpleNamespace(kv_connector_stats=None),
        SimpleNamespace(kv_connector_stats={"OtherConnector": {}}),
    ],
)
def test_statistics_of_another_scheduler_are_none_of_ours(meters: Meters, stats: object) -> None:
    stat_logger.SloStatLogger(vllm_config=None).record(stats, None)
    assert meters.seen == []


def test_without_superinfer_it_is_inert(snapshot: EngineSnapshot) -> None:
    logger = stat_logger.SloStatLogger(vllm_config=None)
    logger.record(SimpleNamespace(kv_connector_stats={"superinfer": {"broken": 1}}), None)
    logger.log_engine_initialized()


def test_vllm_finds_it_by_its_entry_point() -> None:
    from vllm.v1.metrics.loggers import load_stat_logger_plugin_factories

    assert stat_logger.SloStatLogger in load_stat_logger_plugin_factories()
