"""One engine on virtual time: steps follow each other on the GPU, copies run beside them.

A step is planned as vLLM plans it: while the one before it runs if scheduling is asynchronous. What
a step's output says is known when it ends, and so are the copies that ended until then. An engine
with nothing to compute waits for a copy or for a request.

Invariant: times never go back; one step at a time is on the GPU.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from superinfer_runtime.engine.ranks import RankReports
from superinfer_runtime.engine.residency import CopyOrders
from superinfer_runtime.sim.live_request import LiveRequest
from superinfer_runtime.sim.machine.copy_engine import SimulatedCopyEngine
from superinfer_runtime.sim.result import StepSpan
from superinfer_runtime.sim.rotating_scheduler import RotatingScheduler
from superinfer_runtime.sim.stock_scheduler import ScheduledStep, StockScheduler

RETRY_S = 0.001
"""How long an engine that could start nothing waits before it looks again."""
MAX_RETRIES = 100_000
BEFORE_START_S = -1e6


class StepCosts(Protocol):
    """What `step_time.StepTimes` knows."""

    def step_s(
        self,
        num_decodes: int,
        decode_context_tokens: int,
        prefills: list[tuple[int, int]],
        num_sampled: int,
    ) -> float: ...

    def cpu_s(self, num_scheduled: int) -> float: ...


class VirtualClock:
    """The time that the copy engine lives in; it is moved, never read from outside."""

    def __init__(self) -> None:
        self.now_s = BEFORE_START_S

    def __call__(self) -> float:
        return self.now_s

    def move_to(self, now_s: float) -> None:
        self.now_s = max(self.now_s, now_s)


@dataclass(slots=True)
class _Planned:
    step: ScheduledStep
    orders: CopyOrders | None
    ready_s: float
    start_s: float = 0.0
    end_s: float = 0.0


@dataclass
class Replica:
    """See the module's text. ``copies`` and ``clock`` go with a rotating scheduler."""

    scheduler: StockScheduler
    costs: StepCosts
    clock: VirtualClock = field(default_factory=VirtualClock)
    copies: SimulatedCopyEngine | None = None
    copy_slowdown: float = 0.0
    """How much longer a step takes while both directions of the link are busy."""
    keep_steps: bool = False
    num_steps: int = 0
    steps: list[StepSpan] = field(default_factory=list)
    peak_hbm_blocks: int = 0
    peak_dram_blocks: int = 0
    next_event_s: float | None = None
    """When `advance` is to be called next; None while there is nothing to do."""
    _in_flight: deque[_Planned] = field(default_factory=deque)
    _retries: int = 0
    _last_share: float = 0.0

    def __post_init__(self) -> None:
        if self.copies is None:
            return
        # DRAM is pinned and the link is calibrated before the first request.
        assert isinstance(self.scheduler, RotatingScheduler)
        self.copies.calibrate(self.scheduler.pool.num_blocks)
        self._submit(self.scheduler.residency.take_orders())
        self.clock.move_to(BEFORE_START_S / 2)
        self._collect()

    def add(self, live: LiveRequest, now_s: float) -> None:
        """A request arrives at ``now_s``, which no event precedes."""
        self.scheduler.add(live)
        if not self._in_flight:
            self.next_event_s = now_s

    def advance(self, now_s: float) -> list[LiveRequest]:
        """Process what happens at ``now_s``; return the requests that ended."""
        self.clock.move_to(now_s)
        done: list[LiveRequest] = []
        self._collect()
        if self._in_flight and self._in_flight[0].end_s <= now_s:
            planned = self._in_flight.popleft()
            self._finished(planned)
            done = self.scheduler.update(planned.step, now_s)
            if self._in_flight:
                self._start(self._in_flight[0], now_s)
        self._plan(now_s)
        self._note_peaks()
        return done

    def _plan(self, now_s: float) -> None:
        """Plan steps until as many are in flight as may be."""
        depth = self.scheduler.limits.max_steps_in_flight
        while len(self._in_flight) < depth:
            step = self.scheduler.schedule(now_s)
            orders = (
                self.scheduler.residency.take_orders()
                if isinstance(self.scheduler, RotatingScheduler)
                else None
            )
            if not step.work:
                self._submit(orders)
                break
            planned = _Planned(step, orders, now_s + self.costs.cpu_s(len(step.work)))
            self._in_flight.append(planned)
            if len(self._in_flight) == 1:
                self._start(planned, now_s)
        if self._in_flight:
            self._retries = 0
            self.next_event_s = self._in_flight[0].end_s
        else:
            self.next_event_s = self._idle_until(now_s)

    def _idle_until(self, now_s: float) -> float | None:
        if not self.scheduler.has_requests:
            return None
        copy_ends_s = self.copies.next_event_s() if self.copies is not None else None
        if copy_ends_s is not None:
            self._retries = 0
            return max(copy_ends_s, now_s)
        self._retries += 1
        if self._retries > MAX_RETRIES:
            raise RuntimeError(f"nothing can run at {now_s} s, and nothing is on its way")
        return now_s + RETRY_S

    def _start(self, planned: _Planned, now_s: float) -> None:
        step = planned.step
        planned.start_s = max(now_s, planned.ready_s)
        self.clock.move_to(planned.start_s)
        self._submit(planned.orders)
        step_s = self.costs.step_s(
            step.num_decodes, step.decode_context_tokens, step.prefills, step.num_sampled
        )
        planned.end_s = planned.start_s + step_s * (1.0 + self.copy_slowdown * self._last_share)

    def _finished(self, planned: _Planned) -> None:
        self.num_steps += 1
        if self.copies is not None and self.copy_slowdown:
            self._last_share = self.copies.busy_share(planned.start_s, planned.end_s)
        if self.keep_steps:
            scheduler, step = self.scheduler, planned.step
            self.steps.append(
                StepSpan(
                    start_s=planned.start_s,
                    end_s=planned.end_s,
                    num_decodes=step.num_decodes,
                    num_prefill_tokens=step.num_prefill_tokens,
                    num_running=len(scheduler.running),
                    num_waiting=scheduler.num_waiting,
                    num_rotary=scheduler.num_rotary,
                    used_hbm_blocks=scheduler.used_blocks,
                )
            )

    def _submit(self, orders: CopyOrders | None) -> None:
        if orders is None or self.copies is None:
            return
        for slab in orders.add_slabs:
            self.copies.add_slab(slab)
        for slab in orders.drop_slabs:
            self.copies.drop_slab(slab)
        for job in orders.jobs:
            self.copies.submit(job)

    def _collect(self) -> None:
        if self.copies is None:
            return
        report = self.copies.poll()
        if not report.is_empty:
            assert isinstance(self.scheduler, RotatingScheduler)
            self.scheduler.acknowledge(RankReports.of(report))

    def _note_peaks(self) -> None:
        self.peak_hbm_blocks = max(self.peak_hbm_blocks, self.scheduler.used_blocks)
        if isinstance(self.scheduler, RotatingScheduler):
            used = self.scheduler.residency.slots.num_used
            self.peak_dram_blocks = max(self.peak_dram_blocks, used)
