"""The simulated copy engine: in order, never faster than its link, the same however often asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.duplexkv.copy_engine import CopyEngine, CopyJob, CopyResult
from superinfer_runtime.duplexkv.jobs import Copy
from superinfer_runtime.duplexkv.planner import KvLayout, block_segments, locate
from superinfer_runtime.sim.machine.copy_engine import SimulatedCopyEngine
from superinfer_runtime.sim.machine.hardware import HARDWARE, hardware
from superinfer_runtime.sim.machine.link import CopyPath, LinkSpec
from superinfer_runtime.sim.machine.segments import count_segments
from superinfer_runtime.sim.result import CopySpan

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BY_LAYER = KvLayout((64 * KIB,) * 64)
BY_BLOCK = KvLayout((4 * MIB,))
SLOTS_PER_SLAB = 4096
PLAIN = LinkSpec(
    out_bytes_per_s=3e9,
    in_bytes_per_s=4e9,
    duplex_bytes_per_s=5e9,
    one_way_shares=((1, 1.0), (2, 1.0)),
    duplex_shares=((1, 1.0), (2, 1.0)),
    staged_share=None,
    fixed_s=0.0,
    pin_s_per_byte=0.0,
    decode_slowdown=0.0,
)
"""Easy to reckon with: whatever the segments, 3 GB/s out, 4 in, 5 in both."""


class Bench:
    """An engine with a slab, and the clock it goes by."""

    def __init__(
        self, layout: KvLayout = BY_LAYER, link: LinkSpec = PLAIN, slots: int = SLOTS_PER_SLAB
    ) -> None:
        self.now_s = -1e6
        self.engine = SimulatedCopyEngine(layout, link, slots, lambda: self.now_s, keep_spans=True)
        as_interface: CopyEngine = self.engine
        as_interface.add_slab(0)
        self.now_s = 0.0
        assert self.engine.poll().slabs_ready == (0,)

    def submit(self, job_id: int, *, out: bool, blocks: int, first_slot: int = 0) -> None:
        copies = tuple(Copy(7 * n, first_slot + n) for n in range(blocks))
        self.engine.submit(CopyJob(job_id, out, copies))

    def finish(self) -> Sequence[CopyResult]:
        self.now_s = 1e9
        return self.engine.poll().results


@dataclass(frozen=True)
class Order:
    pause_s: float
    out: bool
    blocks: int


ORDERS = st.lists(
    st.builds(Order, st.floats(0.0, 0.1), st.booleans(), st.integers(0, 64)), max_size=12
)
LINKS = st.sampled_from(sorted(HARDWARE)).map(lambda name: HARDWARE[name].link)
LAYOUTS = st.sampled_from([BY_LAYER, BY_BLOCK])


def play(
    orders: Sequence[Order], layout: KvLayout, link: LinkSpec, polls_between: int = 0
) -> tuple[list[CopyResult], list[CopySpan]]:
    """Submit all; poll so often in each pause."""
    bench = Bench(layout, link)
    results: list[CopyResult] = []
    start_s = 0.0
    for job_id, order in enumerate(orders):
        for number in range(polls_between):
            bench.now_s = start_s + order.pause_s * number / polls_between
            results += bench.engine.poll().results
            bench.engine.busy_share(bench.now_s, bench.now_s + 0.01)
        start_s = bench.now_s = start_s + order.pause_s
        bench.submit(job_id, out=order.out, blocks=order.blocks)
    results += bench.finish()
    return results, bench.engine.spans


@settings(max_examples=200)
@given(ORDERS, LAYOUTS, LINKS)
def test_every_job_ends_once_in_order_with_all_its_bytes(
    orders: list[Order], layout: KvLayout, link: LinkSpec
) -> None:
    results, spans = play(orders, layout, link)
    assert sorted(result.job_id for result in results) == list(range(len(orders)))
    for result in results:
        assert result.error is None
        assert result.num_bytes == orders[result.job_id].blocks * layout.block_bytes
        assert result.out is orders[result.job_id].out
    for out in (True, False):
        in_order = [result.job_id for result in results if result.out is out]
        assert in_order == sorted(in_order)
    assert [span.end_s for span in spans] == sorted(span.end_s for span in spans)


@settings(max_examples=200)
@given(ORDERS, LAYOUTS, LINKS)
def test_no_job_begins_early_and_the_link_is_never_exceeded(
    orders: list[Order], layout: KvLayout, link: LinkSpec
) -> None:
    results, spans = play(orders, layout, link)
    submitted_s = list(np.cumsum([order.pause_s for order in orders]))
    rates = {True: link.out_bytes_per_s, False: link.in_bytes_per_s}
    for result, span in zip(results, spans, strict=True):
        assert span.start_s >= submitted_s[result.job_id] - 1e-12
        assert result.busy_s == pytest.approx(span.end_s - span.start_s, abs=1e-12)
        least_s = link.fixed_s + span.num_bytes / rates[span.out] if span.num_bytes else 0.0
        assert result.busy_s >= least_s * (1 - 1e-9)
    for one in (span for span in spans if span.out):
        for other in (span for span in spans if not span.out):
            # What both together moved, they moved within their joint time at the duplex rate.
            joint_s = max(one.end_s, other.end_s) - min(one.start_s, other.start_s)
            moved = one.num_bytes + other.num_bytes
            assert moved <= link.duplex_bytes_per_s * joint_s * (1 + 1e-9) + 1e-3
    for out in (True, False):
        lane = [span for span in spans if span.out is out]
        for before, after in pairwise(lane):
            assert after.start_s >= before.end_s


@settings(max_examples=200)
@given(ORDERS, LAYOUTS, LINKS, st.integers(1, 20))
def test_asking_often_changes_nothing(
    orders: list[Order], layout: KvLayout, link: LinkSpec, polls: int
) -> None:
    assert play(orders, layout, link, polls) == play(orders, layout, link)


@given(ORDERS, LINKS)
def test_following_the_events_finds_every_result_at_its_time(
    orders: list[Order], link: LinkSpec
) -> None:
    bench = Bench(link=link)
    for job_id, order in enumerate(orders):
        bench.submit(job_id, out=order.out, blocks=order.blocks)
    found = 0
    while (next_s := bench.engine.next_event_s()) is not None:
        assert next_s >= bench.now_s
        bench.now_s = next_s
        found += len(bench.engine.poll().results)
        assert all(span.end_s <= next_s for span in bench.engine.spans)
    assert found == len(orders)


def test_one_direction_has_its_own_rate_and_both_share_theirs() -> None:
    bench = Bench()
    block = BY_LAYER.block_bytes
    bench.submit(0, out=True, blocks=100)
    bench.now_s = 10.0
    assert bench.engine.poll().results[0].busy_s == pytest.approx(100 * block / 3e9)
    bench.submit(1, out=True, blocks=100)
    bench.submit(2, out=False, blocks=200)
    out, into = bench.finish()
    # 2.5 GB/s each while both move; then what is left comes in at 4.
    assert out.busy_s == pytest.approx(100 * block / 2.5e9)
    assert into.busy_s == pytest.approx(100 * block / 2.5e9 + 100 * block / 4e9)


@pytest.mark.parametrize("slow_is_out", [True, False])
def test_what_a_slow_direction_leaves_falls_to_the_other(slow_is_out: bool) -> None:
    rates = {slow_is_out: 1e9, not slow_is_out: 4e9}
    bench = Bench(link=replace(PLAIN, out_bytes_per_s=rates[True], in_bytes_per_s=rates[False]))
    bench.submit(0, out=slow_is_out, blocks=10)
    bench.submit(1, out=not slow_is_out, blocks=40)
    for result in bench.finish():
        assert result.busy_s == pytest.approx(result.num_bytes / rates[result.out])
        assert result.busy_s == pytest.approx(10 * BY_LAYER.block_bytes / 1e9)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.booleans(), LINKS, st.floats(0, 1))
def test_a_busy_direction_never_pauses(
    sizes: list[int], out: bool, link: LinkSpec, pause_share: float
) -> None:
    """Jobs handed over while it is busy end when their times, one after the other, have passed."""
    alone_s = []
    for blocks in sizes:
        bench = Bench(link=link)
        bench.submit(0, out=out, blocks=blocks)
        alone_s.append(bench.finish()[0].busy_s)
    bench = Bench(link=link)
    for job_id, blocks in enumerate(sizes):
        bench.submit(job_id, out=out, blocks=blocks)
        bench.now_s = pause_share * sum(alone_s[: job_id + 1])
    bench.finish()
    ends_s = [span.end_s for span in bench.engine.spans]
    assert ends_s == pytest.approx(list(np.cumsum(alone_s)))


@pytest.mark.parametrize(
    ("tokens", "out_ms", "in_ms"),
    [(256, 1.68, 1.64), (1024, 5.50, 5.42), (4096, 20.4, 20.3), (16384, 80.2, 80.4)],
)
def test_rotations_measured_on_an_h200(tokens: int, out_ms: float, in_ms: float) -> None:
    """docs/benchmarks.md, "One request's rotation": Qwen2.5-32B's KV, nothing mirrored."""
    for out, measured_ms in ((True, out_ms), (False, in_ms)):
        bench = Bench(BY_LAYER, hardware("h200").link)
        bench.submit(0, out=out, blocks=tokens // 16)
        assert bench.finish()[0].busy_s * 1e3 == pytest.approx(measured_ms, rel=0.08)


def test_neighbours_merge_into_faster_copies_where_copies_are_direct() -> None:
    link = replace(hardware("gh200-144-480").link, staged_share=None, fixed_s=0.0)
    times_s = []
    for stride in (1, 2):
        bench = Bench(KvLayout((MIB,)), link)
        assert bench.engine.path is CopyPath.DIRECT
        copies = tuple(Copy(stride * n, n) for n in range(32))
        bench.engine.submit(CopyJob(0, True, copies))
        times_s.append(bench.finish()[0].busy_s)
    assert times_s[0] < 0.6 * times_s[1]


@given(st.data(), st.integers(1, 5), st.integers(1, 9))
def test_segments_are_counted_as_the_planner_merges_them(
    data: st.DataObject, piece_slots: int, slots_per_slab: int
) -> None:
    count = data.draw(st.integers(0, 12))
    numbers = st.lists(st.integers(0, 20), min_size=count, max_size=count, unique=True)
    copies = list(map(Copy, data.draw(numbers), data.draw(numbers)))
    slabs = {number: 1000 * number for number in range(21)}
    moves = locate(copies, slabs, slots_per_slab, 10, piece_slots)
    planned = block_segments(moves, np.zeros(1, np.uint64), KvLayout((10,)))
    assert count_segments(copies, piece_slots, slots_per_slab) == len(planned.sizes)


@given(ORDERS, LINKS, st.floats(0.0, 0.5), st.floats(0.001, 0.2))
def test_the_busy_share_is_that_of_the_spans(
    orders: list[Order], link: LinkSpec, start_s: float, length_s: float
) -> None:
    bench = Bench(link=link)
    at_s = 0.0
    end_s = start_s + length_s
    for job_id, order in enumerate(orders):
        at_s += order.pause_s
        if at_s > end_s:
            break
        bench.now_s = at_s
        bench.submit(job_id, out=order.out, blocks=order.blocks)
    bench.now_s = end_s
    share = bench.engine.busy_share(start_s, end_s)
    bench.finish()
    overlaps = [
        max(min(span.end_s, end_s) - max(span.start_s, start_s), 0.0) for span in bench.engine.spans
    ]
    assert share == pytest.approx(sum(overlaps) / (2 * length_s), abs=1e-9)
    assert 0.0 <= share <= 1.0 + 1e-9


def test_an_empty_time_has_no_busy_share() -> None:
    bench = Bench()
    bench.submit(0, out=True, blocks=10)
    assert bench.engine.busy_share(0.0, 0.0) == 0.0


def test_slabs_are_pinned_one_after_the_other_in_proportion_to_their_size() -> None:
    now_s = -5.0
    link = hardware("h200").link
    slots = GIB // BY_LAYER.block_bytes
    engine = SimulatedCopyEngine(BY_LAYER, link, slots, lambda: now_s)
    for slab in (0, 1):
        engine.add_slab(slab)
    assert engine.slab_bytes == GIB
    assert engine.next_event_s() == pytest.approx(-5.0 + 0.14)
    now_s = -5.0 + 0.2
    assert engine.poll().slabs_ready == (0,)
    now_s = -5.0 + 0.3
    assert engine.poll().slabs_ready == (1,)
    engine.drop_slab(0)
    now_s += 1.0
    report = engine.poll()
    assert report.slabs_gone == (0,)
    assert engine.slabs == [1]
    assert engine.next_event_s() is None
    assert engine.poll().is_empty


def test_dram_that_is_not_there_is_refused() -> None:
    now_s = 0.0
    engine = SimulatedCopyEngine(
        BY_LAYER, PLAIN, 16, lambda: now_s, dram_bytes=1.5 * 16 * BY_LAYER.block_bytes
    )
    for slab in (0, 1):
        engine.add_slab(slab)
    report = engine.poll()
    assert (report.slabs_ready, report.slabs_gone) == ((0,), (1,))
    assert report.slab_error is not None
    assert str(16 * BY_LAYER.block_bytes) in report.slab_error


def test_a_job_on_a_missing_slab_fails_in_its_turn() -> None:
    bench = Bench()
    bench.submit(0, out=True, blocks=10)
    bench.submit(1, out=True, blocks=10, first_slot=5 * SLOTS_PER_SLAB)
    assert bench.engine.poll().results == ()
    good, failed = bench.finish()
    assert good.error is None
    assert failed.error == "slab 5 is not there"
    assert (failed.num_bytes, failed.busy_s) == (0, 0.0)
    assert len(bench.engine.spans) == 1


@pytest.mark.parametrize("name", sorted(HARDWARE))
@pytest.mark.parametrize("layout", [BY_LAYER, BY_BLOCK], ids=["by layer", "by block"])
def test_calibration_reports_what_long_jobs_then_reach(name: str, layout: KvLayout) -> None:
    bench = Bench(layout, HARDWARE[name].link)
    bench.engine.calibrate(1000)
    calibration = bench.engine.poll().calibration
    assert calibration is not None
    assert bench.engine.poll().is_empty
    blocks = 4000
    for out, rate in (
        (True, calibration.out_bytes_per_s),
        (False, calibration.in_bytes_per_s),
    ):
        lone = Bench(layout, HARDWARE[name].link)
        lone.engine.submit(CopyJob(0, out, tuple(Copy(2 * n, n) for n in range(blocks))))
        (result,) = lone.finish()
        assert result.num_bytes / result.busy_s == pytest.approx(rate, rel=0.02)
    for out in (True, False):
        bench.submit(int(out), out=out, blocks=blocks)
    results = bench.finish()
    total = 2 * blocks * layout.block_bytes / max(result.busy_s for result in results)
    assert total == pytest.approx(calibration.duplex_bytes_per_s, rel=0.02)


def test_closing_forgets_everything() -> None:
    bench = Bench()
    bench.submit(0, out=True, blocks=1000)
    bench.engine.close()
    assert bench.engine.next_event_s() is None
    assert bench.engine.poll().is_empty
    assert bench.engine.slabs == []


def busy_s_of_a_job(layout: KvLayout, link: LinkSpec) -> float:
    now_s = 0.0
    engine = SimulatedCopyEngine(layout, link, 64, lambda: now_s)
    engine.add_slab(0)
    now_s = 60.0
    engine.poll()
    engine.submit(CopyJob(1, True, tuple(Copy(2 * n, n) for n in range(32))))
    now_s = 120.0
    (result,) = engine.poll().results
    assert result.error is None
    return result.busy_s


def test_two_gpus_side_by_side_copy_a_block_as_fast_as_one_copies_half_of_it() -> None:
    """Each has its share of every layer and a link of its own."""
    link = hardware("h200").link
    one = busy_s_of_a_job(KvLayout((16 << 10,) * 8), link)
    both = busy_s_of_a_job(KvLayout((16 << 10,) * 16), link.times(2))
    assert one == pytest.approx(both)
