"""Scheduling with rotation, as our plug-in does it in vLLM: decide, rotate, then vLLM's own step.

What decides is a function from `Iteration` to `Decision`: RotaSched's own, or a baseline's. All
else is the code that serves under vLLM: the ledger, slots and pins (`engine/residency`), the
policy's view of requests (`engine/requests`), the TBT guard (`engine/step_clock`) and the transfer
budget. What this module repeats of `engine/scheduler` and `engine/rotating` is their handling of
vLLM's queues, which here are `StockScheduler`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.duplexkv.jobs import JobKind
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.geometry import KvGeometry
from superinfer_runtime.engine.ranks import RankReports
from superinfer_runtime.engine.requests import RequestTable, Tracked
from superinfer_runtime.engine.residency import KvResidency
from superinfer_runtime.engine.step_clock import StepClock
from superinfer_runtime.policy.rotasched import Decision, Iteration
from superinfer_runtime.policy.transfer_budget import TransferBudget
from superinfer_runtime.sim.live_request import LiveRequest, Where
from superinfer_runtime.sim.stock_scheduler import EngineLimits, ScheduledStep, StockScheduler

Decide = Callable[[Iteration], Decision]


@dataclass(frozen=True, slots=True)
class Mechanism:
    """What a policy is given beside its decisions."""

    knobs: SchedulerKnobs = field(default_factory=SchedulerKnobs)
    """Of the growth reserve, the TBT guard and the transfer budget."""
    mirrors: bool = True
    """Full blocks are copied to DRAM before they are needed there."""


class RotatingScheduler(StockScheduler):
    """See the module's text."""

    def __init__(
        self,
        limits: EngineLimits,
        geometry: KvGeometry,
        config: EngineConfig,
        decide: Decide,
        mechanism: Mechanism,
        dram_slabs: int,
    ) -> None:
        super().__init__(limits, geometry.num_blocks)
        self.may_defer_frees = limits.async_scheduling
        knobs = mechanism.knobs
        self._decide = decide
        self._mirrors = mechanism.mirrors
        self._budget = TransferBudget(geometry.block_bytes, knobs.transfer_budget_blocks)
        self.residency = KvResidency(self.pool, geometry, self._budget)
        self.residency.slots.resize(dram_slabs)
        self._table = RequestTable(config, limits.block_size)
        self._step_clock = StepClock(limits.max_num_batched_tokens, knobs.guard_tbt)
        self._horizon_steps = knobs.growth_horizon_steps
        self._parked: dict[str, LiveRequest] = {}
        self._loaded: set[str] = set()
        self._last_contended = False
        self._now_s = 0.0
        self.stalls = 0

    @property
    def has_requests(self) -> bool:
        return super().has_requests or bool(self._parked)

    @property
    def num_rotary(self) -> int:
        return len(self._parked)

    def add(self, live: LiveRequest) -> None:
        super().add(live)
        self._table.add(live, live.arrival_s)

    def schedule(self, now_s: float) -> ScheduledStep:
        held = self._rotate(now_s)
        self.max_step_tokens = self._step_clock.token_budget(
            [live.tbt_s for live in self.running if not live.is_prefill_chunk]
        )
        self._now_s = now_s
        step = super().schedule(now_s)
        if held:
            waiting = sorted([*self.waiting, *held], key=_arrival_s)
            self.waiting.clear()
            self.waiting.extend(waiting)
        if step.work:
            self._step_clock.scheduled(
                {live.request_id: count for live, count, _ in step.work}, now_s
            )
        if self._should_mirror():
            self._mirror()
        return step

    def update(self, step: ScheduledStep, now_s: float) -> list[LiveRequest]:
        if step.work:
            self._budget.record_step(self._step_clock.finished(now_s))
        table = self._table
        for live, _, samples in step.work:
            if samples and live.where is not Where.DONE:
                table[live.request_id].candidate.record_tokens(1, now_s)
        return super().update(step, now_s)

    def acknowledge(self, report: RankReports) -> None:
        """Take what the copy engine says has ended."""
        outcome = self.residency.apply(report)
        self._loaded.update(outcome.loads_ended)

    # --- one decision -------------------------------------------------------------------------

    def _rotate(self, now_s: float) -> list[LiveRequest]:
        """Decide and rotate; return waiting requests to keep out of this step."""
        ledger, table = self.residency.ledger, self._table
        free = self.pool.get_num_free_blocks()
        if not self._parked and len(self.waiting) < 2 and self._is_roomy(free):
            self._last_contended = False
            return []
        growth = 0
        for live in self.running:
            num_held = len(live.blocks)
            growth += table.refresh_running(
                table[live.request_id], num_held, ledger.num_unmirrored(live.request_id, num_held)
            )
        iteration = Iteration(
            now_s=now_s,
            running=[table[live.request_id].candidate for live in self.running],
            waiting=[table[live.request_id].candidate for live in self.waiting],
            rotary=[
                table[request_id].candidate
                for request_id, live in self._parked.items()
                if not live.num_in_flight_tokens and ledger.is_in_dram(request_id)
            ],
            free_blocks=free,
            arriving_blocks=self.residency.blocks_in_flight(JobKind.OUT) + self.deferred_blocks,
            growth_blocks=growth,
            free_seats=self.limits.max_num_seqs - len(self.running) - len(self.loading),
            free_dram_blocks=ledger.num_available_slots,
            transfer_blocks=self.residency.transfer_blocks,
            pace=self._step_clock.pace(self.limits.block_size),
        )
        decision = self._decide(iteration)
        self._last_contended = decision.contended
        self.stalls += decision.stalled
        for candidate in decision.discard:
            self._discard(table[candidate.request_id])
        for candidate in decision.rotate_out:
            self._rotate_out(table[candidate.request_id])
        for candidate in decision.rotate_in:
            self._rotate_in(table[candidate.request_id])
        if not decision.contended and decision.admit == iteration.waiting:
            return []
        admitted = {candidate.request_id for candidate in decision.admit}
        held = [live for live in self.waiting if live.request_id not in admitted]
        self.waiting.clear()
        self.waiting.extend(table[candidate.request_id].request for candidate in decision.admit)
        return held

    def _is_roomy(self, free_blocks: int) -> bool:
        """Whether free HBM surely covers all that is wanted, so that nothing is to be decided.

        A decoding request grows by fewer than two blocks and its share of the horizon; the bound
        is generous, and what it lets through the policy would have called uncontended as well.
        """
        block_size = self.limits.block_size
        per_request = 2 + self._horizon_steps // block_size
        wanted = per_request * len(self.running)
        for live in self.running:
            if live.is_prefill_chunk:
                wanted += -(-live.num_tokens // block_size) - len(live.blocks)
        for live in self.waiting:
            wanted += -(-(live.num_tokens + self._horizon_steps) // block_size) + 1
        seats = len(self.running) + len(self.waiting) + len(self.loading)
        return wanted <= free_blocks and seats <= self.limits.max_num_seqs

    def _rotate_out(self, tracked: Tracked) -> None:
        live: LiveRequest = tracked.request
        num_tokens = live.num_computed_tokens
        if not self.residency.ledger.can_rotate_out(live.request_id, num_tokens):
            self.stalls += 1
            return
        self.residency.rotate_out(live.request_id, live.blocks, num_tokens)
        self._release(live)
        self.running.remove(live)
        live.where = Where.PARKED
        live.num_computed_tokens = 0
        live.rotations += 1
        tracked.saved_tokens = num_tokens
        self._table.refresh_rotary(tracked)
        self._parked[live.request_id] = live

    def _rotate_in(self, tracked: Tracked) -> None:
        live: LiveRequest = tracked.request
        block_size = self.limits.block_size
        hits: list[int] = []
        if self.limits.prefix_caching and live.request.content is not None:
            hits = self._cached_prefix(live)[: (tracked.saved_tokens - 1) // block_size]
        needed = -(-(tracked.saved_tokens + 1) // block_size) - len(hits)
        if needed + sum(map(self.pool.is_free, hits)) > self.pool.get_num_free_blocks():
            return
        self.pool.touch(hits)
        live.blocks = hits + self.pool.get_new_blocks(needed)
        live.num_cached_blocks = len(hits)
        del self._parked[live.request_id]
        self.residency.rotate_in(live.request_id, live.blocks, len(hits))
        live.where = Where.LOADING
        live.num_computed_tokens = tracked.saved_tokens
        self.loading.append(live)

    def _discard(self, tracked: Tracked) -> None:
        live: LiveRequest = tracked.request
        del self._parked[live.request_id]
        self.residency.ledger.forget(live.request_id)
        live.where = Where.WAITING
        live.recomputes += 1
        self.recomputes += 1
        self._table.refresh_waiting(tracked)
        self.waiting.appendleft(live)

    # --- mirrors ------------------------------------------------------------------------------

    def _should_mirror(self) -> bool:
        if not self._mirrors:
            return False
        return self._last_contended or self.used_blocks * 2 > self.pool.num_blocks

    def _mirror(self) -> None:
        ledger, block_size = self.residency.ledger, self.limits.block_size
        wanted: list[tuple[str, list[int], int]] = []
        for live in self.running:
            num_full = (live.num_computed_tokens - live.num_in_flight_tokens) // block_size
            if ledger.has_unmirrored(live.request_id, num_full):
                wanted.append((live.request_id, live.blocks[:num_full], num_full))
        self.residency.mirror(wanted)

    # --- StockScheduler's hooks ---------------------------------------------------------------

    def _is_loaded(self, live: LiveRequest) -> bool:
        return live.request_id in self._loaded

    def _admitted(self, live: LiveRequest) -> None:
        self._loaded.discard(live.request_id)
        self._table[live.request_id].candidate.run_start_s = self._now_s

    def _preempt(self, live: LiveRequest) -> None:
        super()._preempt(live)
        self.residency.ledger.forget(live.request_id)
        self._table.refresh_waiting(self._table[live.request_id])

    def _finish(self, done: Sequence[LiveRequest]) -> None:
        for live in done:
            self._parked.pop(live.request_id, None)
            self._loaded.discard(live.request_id)
            self.residency.ledger.forget(live.request_id)
            self._table.pop(live.request_id)
        super()._finish(done)


def _arrival_s(live: LiveRequest) -> float:
    return live.arrival_s
