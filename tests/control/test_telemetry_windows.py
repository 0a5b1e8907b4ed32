"""Sliding windows under a made-up clock: restarts, late points, silence, and many senders."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.metrics import KV_HEADROOM, ROTATIONS, SLO_REQUESTS, Attribute, Objective
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.rejection import Reason
from superinfer_operator.telemetry.series import STEPS_OF_A_WINDOW, Rises
from superinfer_operator.telemetry.windows import (
    MAX_PODS,
    MAX_SERIES_OF_A_POD,
    Share,
    Snapshot,
    Windows,
)

CHAT = Source("chat", "chat-0")
NS = 10**9


def count(
    value: float,
    time_s: float,
    *,
    start_s: float = 1.0,
    outcome: str = "good",
    shape: Shape = Shape.CUMULATIVE,
) -> Point:
    labels = (
        (Attribute.SLO_CLASS.value, "a"),
        (Attribute.OBJECTIVE.value, "ttft"),
        (Attribute.OUTCOME.value, outcome),
    )
    return Point(
        CHAT, SLO_REQUESTS.name, labels, shape, value, round(time_s * NS), round(start_s * NS)
    )


def gauge(value: float, time_s: float, tier: str = "dram") -> Point:
    labels = ((Attribute.TIER.value, tier),)
    return Point(CHAT, KV_HEADROOM.name, labels, Shape.GAUGE, value, round(time_s * NS), 0)


def fed(*points: Point) -> Windows:
    """Windows that got each point at the time that it carries."""
    windows = Windows(window_s=10, stale_s=5)
    for point in points:
        windows.add([point], now_s=point.time_ns / NS)
    return windows


def share(snapshot: Snapshot) -> Share | None:
    return snapshot.shares.get(("a", Objective.TTFT))


def test_good_and_bad_make_a_share_of_the_window() -> None:
    windows = fed(count(6, 2), count(2, 3, outcome="bad"), count(8, 4))
    assert share(windows.snapshot(CHAT, 4)) == Share(good=8, total=10)
    assert share(windows.snapshot(CHAT, 12.5)) == Share(good=2, total=4)
    assert share(windows.snapshot(CHAT, 15)) == Share(good=0, total=0)
    assert Share(0, 0).attainment is None
    assert Share(3, 4).attainment == 0.75


def test_a_long_running_counter_starts_from_where_it_is_found() -> None:
    windows = fed(count(10_000, 500), count(10_003, 501))
    assert share(windows.snapshot(CHAT, 501)) == Share(3, 3)


def test_a_restart_counts_from_nought_whether_or_not_the_start_tells() -> None:
    told = fed(count(5, 2), count(2, 4, start_s=3))
    assert share(told.snapshot(CHAT, 4)) == Share(7, 7)
    untold = fed(count(5, 2), count(2, 4))
    assert share(untold.snapshot(CHAT, 4)) == Share(7, 7)


def test_late_and_repeated_points_change_nothing() -> None:
    windows = fed(count(5, 2), count(7, 4))
    windows.add([count(7, 4), count(6, 3), count(9, 5, start_s=0.5)], now_s=5)
    assert share(windows.snapshot(CHAT, 5)) == Share(7, 7)


def test_delta_points_add_up() -> None:
    one = count(4, 2, shape=Shape.DELTA)
    windows = fed(one, count(3, 4, start_s=2, shape=Shape.DELTA))
    windows.add([one], now_s=5)
    assert share(windows.snapshot(CHAT, 5)) == Share(7, 7)


def test_one_request_may_hold_points_in_any_order() -> None:
    windows = Windows(window_s=10, stale_s=5)
    windows.add([count(7, 4), count(5, 2)], now_s=4)
    assert share(windows.snapshot(CHAT, 4)) == Share(7, 7)


def test_gauges_are_the_latest_until_stale() -> None:
    windows = fed(gauge(8, 1), gauge(4, 3))
    windows.add([gauge(9, 2)], now_s=3)
    assert windows.snapshot(CHAT, 8).gauge(KV_HEADROOM, "dram") == 4
    assert windows.snapshot(CHAT, 8.1).gauge(KV_HEADROOM, "dram") is None
    assert windows.snapshot(CHAT, 4).gauge(KV_HEADROOM, "hbm") is None


def test_silence_shows_as_age_whatever_the_sender_s_clock() -> None:
    windows = Windows(window_s=10, stale_s=5)
    assert windows.snapshot(CHAT, 1).age_s is None
    windows.add([gauge(1, time_s=9999)], now_s=2)
    windows.add([gauge(1, time_s=9999)], now_s=6)  # a repetition is no sign of life
    assert windows.snapshot(CHAT, 7).age_s == 5


def test_rates_are_per_second_of_the_window() -> None:
    labels = ((Attribute.DIRECTION.value, "out"),)
    out = Point(CHAT, ROTATIONS.name, labels, Shape.DELTA, 20, 2 * NS, NS)
    assert fed(out).snapshot(CHAT, 2).rate(ROTATIONS, "out") == 2.0
    assert fed(out).snapshot(CHAT, 2).rate(ROTATIONS, "in") == 0.0


def test_pods_are_kept_apart_and_forgotten_in_silence() -> None:
    other = Source("chat", "chat-1")
    windows = fed(gauge(1, 1))
    windows.add([replace(gauge(2, 1), source=other)], now_s=1)
    assert windows.sources("chat") == [CHAT, other]
    assert windows.sources("batch") == []
    assert windows.snapshot(other, 1).gauge(KV_HEADROOM, "dram") == 2
    windows.add([gauge(1, 200)], now_s=200)
    assert windows.sources("chat") == [CHAT]


def test_pods_that_are_gone_are_forgotten_at_once() -> None:
    other = Source("chat", "chat-1")
    windows = fed(gauge(1, 1))
    windows.add([replace(gauge(2, 1), source=other)], now_s=1)
    windows.keep_only({"chat-1", "chat-2"})
    assert windows.sources("chat") == [other]
    assert windows.snapshot(CHAT, 1).age_s is None


def test_a_new_reach_holds_from_now_on() -> None:
    windows = fed(count(5, 2), gauge(1, 2), count(6, 10))
    windows.update(window_s=5, stale_s=20)
    snapshot = windows.snapshot(CHAT, 11)
    assert share(snapshot) == Share(1, 1)
    assert snapshot.window_s == 5
    assert snapshot.gauge(KV_HEADROOM, "dram") == 1


def test_a_change_of_temporality_loses_and_doubles_nothing() -> None:
    windows = fed(count(5, 2), count(2, 3, shape=Shape.DELTA), count(3, 4, shape=Shape.DELTA))
    assert share(windows.snapshot(CHAT, 4)) == Share(10, 10)


def test_too_many_series_are_rejected_and_the_known_ones_live_on() -> None:
    windows = Windows(window_s=10, stale_s=5)
    crowd = [gauge(1, 1, tier=str(n)) for n in range(MAX_SERIES_OF_A_POD + 5)]
    assert windows.add(crowd, now_s=1) == {Reason.TOO_MANY_SERIES: 5}
    assert len(windows.snapshot(CHAT, 1).gauges) == MAX_SERIES_OF_A_POD
    assert not windows.add([gauge(7, 2, tier="0")], now_s=2)
    assert windows.snapshot(CHAT, 2).gauge(KV_HEADROOM, "0") == 7


def test_too_many_pods_are_rejected_until_some_are_gone() -> None:
    windows = Windows(window_s=10, stale_s=5)
    crowd = [replace(gauge(1, 1), source=Source("s", str(n))) for n in range(MAX_PODS + 5)]
    assert windows.add(crowd, now_s=1) == {Reason.TOO_MANY_PODS: 5}
    assert len(windows.sources("s")) == MAX_PODS
    windows.keep_only({"1"})
    assert not windows.add(crowd[-5:], now_s=2)


def test_a_flood_of_points_is_kept_in_few_steps() -> None:
    rises = Rises()
    for n in range(10_000):
        rises.add(1, now_s=n / 1000, window_s=10)
    assert rises.total(now_s=9.999, window_s=10) == 10_000
    assert len(rises.steps) <= 2 * (STEPS_OF_A_WINDOW + 1)


@given(
    rises=st.lists(st.integers(0, 50), min_size=1, max_size=20),
    restarts=st.sets(st.integers(1, 19)),
    repeat=st.sets(st.integers(0, 19)),
)
def test_no_rise_is_lost_or_counted_twice(
    rises: list[int], restarts: set[int], repeat: set[int]
) -> None:
    windows = Windows(window_s=1000, stale_s=5)
    total, start_s = 0, 1.0
    for at, rise in enumerate(rises):
        time_s = at + 2.0
        if at in restarts:
            total, start_s = 0, time_s - 0.5
        total += rise
        point = count(total, time_s, start_s=start_s)
        windows.add([point, point] if at in repeat else [point], now_s=time_s)
    found = share(windows.snapshot(CHAT, len(rises) + 2.0))
    assert found is not None
    assert found.total == sum(rises)
