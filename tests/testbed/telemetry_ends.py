"""Both ends of a runtime's telemetry: its real exporter, and what arrived at an operator."""

import logging

import pytest
from superinfer_contract.metrics import STEP_TIME
from superinfer_contract.runtime_config import TelemetryConfig
from superinfer_operator.telemetry.ingest import Receipt
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.rejection import Rejected
from superinfer_runtime.telemetry.otlp import meter_provider

SHUTDOWN_MILLIS = 5_000


class Received:
    """What receivers were sent, and what became of each request."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.receipts: list[Receipt] = []

    def take(self, points: list[Point]) -> Rejected:
        self.points += points
        return Rejected()


def report(config: TelemetryConfig, protocol: str, value: float) -> None:
    """Send one gauge as a runtime does, and stop."""
    provider = meter_provider(config, {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert provider is not None
    provider.get_meter("test").create_gauge(STEP_TIME.name).set(value)
    provider.shutdown(timeout_millis=SHUTDOWN_MILLIS)


def listen_to_vllm(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """vLLM, once imported, keeps its log to itself, at a level of its own; caplog listens above."""
    monkeypatch.setattr(logging.getLogger("vllm"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="vllm")
