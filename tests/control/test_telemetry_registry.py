"""Windows of many services: each its own reach, and none for what is not registered."""

from dataclasses import replace

import pytest
from superinfer_contract.metrics import STEP_TIME
from superinfer_operator.telemetry import registry as registry_module
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.registry import Registry, TooManyServices
from superinfer_operator.telemetry.rejection import Reason

CHAT, BATCH = Source("team/chat", "pod-0"), Source("team/batch", "pod-0")


def point(source: Source, time_ns: int = 1) -> Point:
    return Point(source, STEP_TIME.name, (), Shape.GAUGE, 1.0, time_ns, 0)


def test_each_service_has_its_own_reach() -> None:
    registry = Registry()
    chat = registry.register("team/chat", window_s=30, stale_s=5)
    batch = registry.register("team/batch", window_s=300, stale_s=50)
    assert not registry.add([point(CHAT), point(BATCH)], now_s=1)
    assert chat.snapshot(CHAT, 10).gauge(STEP_TIME) is None
    assert batch.snapshot(BATCH, 10).gauge(STEP_TIME) == 1.0
    assert batch.snapshot(BATCH, 10).window_s == 300
    assert len(registry) == 2


def test_registering_again_changes_the_reach_and_keeps_what_was_reported() -> None:
    registry = Registry()
    windows = registry.register("team/chat", window_s=30, stale_s=5)
    registry.add([point(CHAT)], now_s=1)
    assert registry.register("team/chat", window_s=30, stale_s=50) is windows
    assert windows.snapshot(CHAT, 10).gauge(STEP_TIME) == 1.0


def test_unknown_services_are_rejected_and_leave_no_trace() -> None:
    registry = Registry()
    registry.register("team/chat", window_s=30, stale_s=5)
    crowd = [replace(point(CHAT), source=Source(f"team/{n}", "p")) for n in range(1000)]
    assert registry.add([*crowd, point(CHAT)], now_s=1) == {Reason.UNKNOWN_SERVICE: 1000}
    assert len(registry) == 1


def test_a_service_that_is_gone_is_unknown_and_starts_anew() -> None:
    registry = Registry()
    registry.register("team/chat", window_s=30, stale_s=5)
    registry.add([point(CHAT)], now_s=1)
    registry.unregister("team/chat")
    registry.unregister("team/chat")
    assert registry.windows("team/chat") is None
    assert registry.add([point(CHAT, 2)], now_s=2) == {Reason.UNKNOWN_SERVICE: 1}
    windows = registry.register("team/chat", window_s=30, stale_s=5)
    assert registry.windows("team/chat") is windows
    assert windows.snapshot(CHAT, 2).age_s is None


def test_the_number_of_services_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_SERVICES", 2)
    registry = Registry()
    for name in ("team/a", "team/b"):
        registry.register(name, window_s=30, stale_s=5)
    with pytest.raises(TooManyServices, match="team/c"):
        registry.register("team/c", window_s=30, stale_s=5)
    registry.register("team/a", window_s=60, stale_s=5)
