"""Windows and senders' clocks: late and repeated points, and clocks that are wrong or jump."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.metrics import KV_HEADROOM, ROTATIONS
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.series import MAX_DELTAS_REMEMBERED
from superinfer_operator.telemetry.windows import Windows

POD = Source("team/chat", "chat-0")
NS = 10**9
HOUR_S = 3600.0
WINDOW_S, STALE_S, INTERVAL_S = 100.0, 5.0, 1.0
LABELS = (("superinfer.kv.direction", "out"),)
TIER = (("superinfer.kv.tier", "dram"),)


def ns(time_s: float) -> int:
    return round(time_s * NS)


def total(value: float, time_s: float, start_s: float = HOUR_S) -> Point:
    """A cumulative counter."""
    shape = Shape.CUMULATIVE
    return Point(POD, ROTATIONS.name, LABELS, shape, value, ns(time_s), ns(start_s))


def delta(value: float, time_s: float) -> Point:
    return Point(POD, ROTATIONS.name, LABELS, Shape.DELTA, value, ns(time_s), ns(time_s) - NS)


def gauge(value: float, time_s: float) -> Point:
    return Point(POD, KV_HEADROOM.name, TIER, Shape.GAUGE, value, ns(time_s), 0)


class Scene:
    """Windows under a clock of their own."""

    def __init__(self) -> None:
        self.windows = Windows(WINDOW_S, STALE_S)
        self.now_s = 0.0

    def get(self, *points: Point, after_s: float = INTERVAL_S) -> "Scene":
        self.now_s += after_s
        assert not self.windows.add(points, self.now_s)
        return self

    @property
    def rise(self) -> float:
        return self.windows.snapshot(POD, self.now_s).rise(ROTATIONS, "out")

    @property
    def age_s(self) -> float | None:
        return self.windows.snapshot(POD, self.now_s).age_s

    @property
    def level(self) -> float | None:
        return self.windows.snapshot(POD, self.now_s).gauge(KV_HEADROOM, "dram")


@pytest.mark.parametrize("offset_s", [HOUR_S, 5 * HOUR_S, 9e9])
def test_a_wrong_clock_is_as_good_as_a_right_one(offset_s: float) -> None:
    scene = Scene()
    for n in range(5):
        time_s = offset_s + n
        scene.get(total(10 + n, time_s, start_s=offset_s - 9), gauge(n, time_s))
    assert (scene.rise, scene.level, scene.age_s) == (14, 4, 0)


def test_a_process_older_than_the_window_starts_from_where_it_is_found() -> None:
    assert Scene().get(total(9, HOUR_S + WINDOW_S + 1)).rise == 0
    assert Scene().get(total(9, HOUR_S + WINDOW_S)).rise == 9
    assert Scene().get(total(9, HOUR_S, start_s=0)).rise == 0


def test_a_clock_set_back_before_the_first_report_counts_nothing_twice() -> None:
    assert Scene().get(total(9_000, HOUR_S, start_s=2 * HOUR_S)).rise == 0


def test_a_late_delta_is_counted_once() -> None:
    scene = Scene().get(delta(1, 10)).get(delta(4, 12)).get(delta(2, 11)).get(delta(2, 11))
    assert scene.rise == 7


def test_a_delta_older_than_what_is_remembered_is_not_counted() -> None:
    scene = Scene()
    points = [delta(1, 10 + n) for n in range(MAX_DELTAS_REMEMBERED + 2)]
    scene.get(*points).get(*points)
    assert scene.rise == len(points)
    assert scene.get(delta(1, 5)).rise == len(points)


def test_reports_that_were_missed_are_made_up_for_by_a_cumulative_counter() -> None:
    scene = Scene().get(total(1, HOUR_S + 1)).get(total(8, HOUR_S + 40), after_s=39)
    assert scene.rise == 8


def test_a_straggler_of_the_former_process_changes_nothing() -> None:
    scene = Scene().get(total(50, HOUR_S + 1)).get(total(2, HOUR_S + 9, start_s=HOUR_S + 8))
    assert scene.rise == 52
    assert scene.get(total(51, HOUR_S + 20)).rise == 52
    assert scene.get(total(3, HOUR_S + 21, start_s=HOUR_S + 8)).rise == 53


def test_a_start_that_becomes_known_is_no_restart() -> None:
    scene = Scene().get(total(500, HOUR_S + 1, start_s=0)).get(total(502, HOUR_S + 2))
    assert scene.rise == 2


def test_a_restart_is_seen_through_a_clock_set_back_if_its_start_is_newer() -> None:
    scene = Scene().get(total(5, HOUR_S + 90), after_s=1)
    assert scene.get(total(2, HOUR_S + 50, start_s=HOUR_S + 49)).rise == 7


@pytest.mark.parametrize("back_s", [2.0, HOUR_S / 2, 3 * HOUR_S])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_set_back_does_not_silence_a_pod_for_ever(back_s: float, restarted: bool) -> None:
    scene, time_s, start_s, value = Scene(), 5 * HOUR_S, 5 * HOUR_S - 1, 0
    for _ in range(5):
        time_s, value = time_s + INTERVAL_S, value + 1
        scene.get(total(value, time_s, start_s), gauge(value, time_s))
    before = scene.rise
    time_s -= back_s
    if restarted:
        start_s, value = time_s, 0
    steps = round(STALE_S / INTERVAL_S) + 3
    for _ in range(steps):
        time_s, value = time_s + INTERVAL_S, value + 1
        scene.get(total(value, time_s, start_s), gauge(value, time_s))
    assert (scene.age_s, scene.level) == (0, value)
    assert scene.rise == before + steps


def test_deltas_of_a_clock_set_back_are_taken_again() -> None:
    scene = Scene()
    scene.get(*[delta(1, HOUR_S + n) for n in range(MAX_DELTAS_REMEMBERED + 1)])
    for n in range(10):
        scene.get(delta(1, 10 + n))
    assert scene.age_s == 0
    # The first ones look late, until it is clear that they are not.
    before = scene.rise
    assert MAX_DELTAS_REMEMBERED + 1 < before < MAX_DELTAS_REMEMBERED + 11
    scene.get(delta(1, 22)).get(delta(1, 21)).get(delta(1, 21))
    assert scene.rise == before + 2


def test_an_old_request_repeated_for_ever_is_no_sign_of_life() -> None:
    scene = Scene().get(total(8, HOUR_S + 8), gauge(8, HOUR_S + 8))
    for _ in range(20):
        scene.get(total(3, HOUR_S + 3), gauge(3, HOUR_S + 3))
    assert (scene.rise, scene.level, scene.age_s) == (8, None, 20)


def test_late_points_between_newer_ones_are_never_taken_for_a_clock_set_back() -> None:
    """Two ways to the operator, one of them slower than telemetry may be."""
    scene = Scene()
    for n in range(1, 60):
        late = [total(n - 20, HOUR_S + n - 20), gauge(-1, HOUR_S + n - 20)] if n > 20 else []
        scene.get(total(n, HOUR_S + n), gauge(n, HOUR_S + n)).get(*late, after_s=0)
        assert (scene.rise, scene.level) == (n, n)


TIMES = st.integers(1, 200).map(float)


@given(history=st.lists(st.tuples(TIMES, st.booleans()), max_size=30), offset_s=TIMES)
def test_after_any_history_a_pod_that_reports_is_heard(
    history: list[tuple[float, bool]], offset_s: float
) -> None:
    scene = Scene()
    for n, (time_s, is_delta) in enumerate(history):
        counted = delta(1, time_s) if is_delta else total(n, time_s, start_s=1 + time_s // 50)
        scene.get(counted, gauge(n, time_s))
    for n in range(round(STALE_S / INTERVAL_S) + 3):
        time_s = offset_s + n
        scene.get(total(n, time_s, start_s=offset_s / 2), gauge(-n, time_s))
    assert scene.age_s == 0
    assert scene.level == -n


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    data=st.data(),
)
def test_deltas_add_up_whatever_order_and_however_often_they_come(
    values: list[int], data: st.DataObject
) -> None:
    points = [delta(value, n + 1) for n, value in enumerate(values)]
    repeats = data.draw(st.lists(st.sampled_from(points), max_size=10))
    requests = data.draw(st.permutations(points + repeats))
    scene = Scene()
    for point in requests:
        scene.get(point)
    assert scene.rise == sum(values)


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    data=st.data(),
)
def test_a_cumulative_counter_never_rises_by_more_than_it_did(
    values: list[int], data: st.DataObject
) -> None:
    sums = [sum(values[: n + 1]) for n in range(len(values))]
    points = [total(value, HOUR_S + n) for n, value in enumerate(sums)]
    scene = Scene()
    for point in data.draw(st.permutations(points * 2)):
        scene.get(point, after_s=STALE_S / 100)
    assert scene.rise == sums[-1]


@given(starts=st.lists(st.integers(1, 9), min_size=1, max_size=6), data=st.data())
def test_processes_are_told_apart_within_one_request(
    starts: list[int], data: st.DataObject
) -> None:
    """Each process counts 1, 2, 3; a collector may put them all into one request."""
    points, start_s = [], HOUR_S
    for gap_s in starts:
        start_s += gap_s + 3
        points += [total(n, start_s + n, start_s) for n in (1, 2, 3)]
    scene = Scene().get(*data.draw(st.permutations(points)))
    assert scene.get(*points).rise == 3 * len(starts)


def test_other_pods_are_not_touched_by_a_clock_set_back() -> None:
    other = Source("team/chat", "chat-1")
    scene = Scene()
    for n in range(20):
        back_s = HOUR_S if n > 3 else 0
        ahead = replace(total(n, 3 * HOUR_S + n, 3 * HOUR_S - 1), source=other)
        scene.get(total(n, 2 * HOUR_S + n - back_s, HOUR_S / 2), ahead)
    assert scene.windows.snapshot(other, scene.now_s).rise(ROTATIONS, "out") == 19
