"""The Prometheus face: names as the contract tells them, and scrapes that come at once."""

from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from superinfer_contract import metrics
from superinfer_contract.prometheus import label, series
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_contract.slo import PAPER_DEFAULT_CLASS
from superinfer_runtime.telemetry import prometheus_face
from superinfer_runtime.telemetry.meters import SloMeters
from superinfer_runtime.telemetry.otlp import provider_for
from superinfer_runtime.telemetry.snapshot import EngineSnapshot

SCRAPES = 200


def face(snapshot: EngineSnapshot) -> CollectorRegistry:
    """A registry with meters in it that took ``snapshot`` in."""
    registry = CollectorRegistry()
    provider = provider_for(TelemetryConfig(), [prometheus_face.reader(registry)])
    meters = SloMeters(provider.get_meter("test"), (PAPER_DEFAULT_CLASS,), "tiny", True)
    meters.record(snapshot)
    return registry


def test_series_have_the_names_and_labels_that_the_contract_tells(
    snapshot: EngineSnapshot,
) -> None:
    text = generate_latest(face(snapshot)).decode()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    expected = {
        name: {label(attribute) for attribute in metric.attributes}
        for metric in metrics.ALL
        for name in series(metric)
    }
    assert labels.keys() == expected.keys()
    for name, found in labels.items():
        assert found - {"le"} == expected[name]


def test_scrapes_at_once_each_get_everything_once(snapshot: EngineSnapshot) -> None:
    registry = face(snapshot)
    with ThreadPoolExecutor(8) as pool:
        scraped = list(pool.map(lambda _: generate_latest(registry), range(SCRAPES)))
    assert set(scraped) == {scraped[0]}
    assert b"superinfer_kv_rotations_total" in scraped[0]
