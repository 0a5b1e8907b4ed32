"""RotaScheduler: RotaSched as a plug-in of stock vLLM 0.26.0 (`--scheduler-cls`).

Each `schedule` call first lets the policy decide who rotates and who may be admitted, carries that
out (`RotatingScheduler` knows how), and hands the rest to vLLM's scheduler unchanged. Under
contention ``waiting`` holds only those whom the policy admits during `super().schedule()`; without
contention it is left alone, so uncontended load is plain vLLM.

Where the model's KV cannot rotate (see `rotation_obstacle`) all of this is off, and vLLM schedules
as it always does, with SLO accounting.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import SchedulingPolicy, create_request_queue
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from superinfer_runtime.duplexkv.jobs import JobKind
from superinfer_runtime.engine.control import ControlMailbox, ControlServer
from superinfer_runtime.engine.messages import RotationMetadata
from superinfer_runtime.engine.policies import decider, guards_tbt
from superinfer_runtime.engine.rotating import RotatingScheduler, is_in_flight
from superinfer_runtime.engine.slo_accounting import SloAccounting
from superinfer_runtime.engine.snapshots import SnapshotBuilder
from superinfer_runtime.engine.step_clock import StepClock
from superinfer_runtime.policy.candidate import Candidate
from superinfer_runtime.policy.class_share import within_shares
from superinfer_runtime.policy.rotasched import Decision, Iteration, is_contended


class RotaScheduler(RotatingScheduler):
    """See the module's text; it overrides hooks of `vllm/v1/core/sched/scheduler.py`."""

    max_num_scheduled_tokens: int
    clock = staticmethod(time.monotonic)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.policy is not SchedulingPolicy.FCFS:
            raise ValueError(
                "RotaSched orders requests by lag: drop --scheduling-policy, weight classes instead"
            )
        self._decide = decider(self._config, self._hbm, self._residency.slots)
        self._step_clock = StepClock(self.max_num_scheduled_tokens, guards_tbt(self._config))
        self._accounting = SloAccounting()
        self._last_decision = Decision(contended=False)
        self._class_shares = {slo_class.name: 1.0 for slo_class in self._config.slo_classes}

        self._snapshots = SnapshotBuilder(self._config, self._geometry, self._hbm, self._residency)
        if self._rotation_off_reason is None:
            self._residency.slots.resize(self._snapshots.initial_slabs)
        self._mailbox = ControlMailbox(self._snapshot())
        self._control = (
            ControlServer(self._config.control_socket, self._mailbox.handle)
            if self._config.control_socket
            else None
        )

    # --- one step ---------------------------------------------------------------------------

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        now_s = self.clock()
        self._apply_wishes()
        if self._rotation_off_reason is not None:
            output = super().schedule(throttle_prefills)
        else:
            self._hbm.settle()
            held = self._rotate(now_s) if self._pause_state is PauseState.UNPAUSED else []
            tracked = self._table.by_id
            self.max_num_scheduled_tokens = self._step_clock.token_budget(
                [
                    tracked[request.request_id].candidate.targets.tbt_s
                    for request in self.running
                    if not request.is_prefill_chunk
                ]
            )
            output = super().schedule(throttle_prefills)
            if held:
                # Those not admitted after all come first again; arrival decides between them.
                waiting = sorted([*self.waiting, *held], key=self._arrival_s)
                self.waiting.clear()
                self.waiting.extend(waiting)
        self._note_scheduled(output, now_s)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(
            scheduler_output, model_runner_output
        )
        now_s = self.clock()
        if scheduler_output.total_num_scheduled_tokens:
            self._transfer_budget.record_step(self._step_clock.finished(now_s))
        stats = None
        finished = False
        by_id = self._table.by_id
        for core_outputs in outputs.values():
            stats = core_outputs.scheduler_stats or stats
            for output in core_outputs.outputs:
                tracked = by_id.get(output.request_id)
                if tracked is None:
                    continue
                if output.new_token_ids:
                    candidate = tracked.candidate
                    if candidate.first_token_s is None:
                        self._accounting.first_token(candidate, tracked.slo_class, now_s)
                    candidate.record_tokens(len(output.new_token_ids), now_s)
                if output.finish_reason is not None and output.request_id not in self.requests:
                    self._accounting.finished(tracked.candidate, tracked.slo_class)
                    self._table.pop(output.request_id)
                    finished = True
        if finished and self.skipped_waiting:
            # vLLM 0.26.0 purges only `waiting` of requests that finish while preempted.
            gone = [r for r in self.skipped_waiting if r.is_finished()]
            if gone:
                self.skipped_waiting.remove_requests(gone)
        ttft_samples, finish_samples = self._accounting.take() if stats is not None else ((), ())
        snapshot = self._snapshot(ttft_samples, finish_samples)
        self._mailbox.publish(snapshot)
        if stats is not None:
            stats.kv_connector_stats = {"superinfer": snapshot.to_dict()}
            stats.num_waiting_reqs += len(self._parked)
            stats.kv_cache_usage = self._hbm.used_blocks / max(self._hbm.allocated_blocks, 1)
        return outputs

    # --- the policy's part ------------------------------------------------------------------

    def _rotate(self, now_s: float) -> list[Request]:
        """Decide and rotate; return waiting requests to keep out of this step."""
        is_stuck = self._residency.is_stuck
        if is_stuck:
            self._recompute_parked()
        self._reclaim_skipped()
        rotary = [
            tracked.candidate
            for request_id, tracked in self._parked.items()
            if not is_in_flight(tracked) and self._residency.ledger.is_in_dram(request_id)
        ]
        num_loading = sum(
            r.status == RequestStatus.WAITING_FOR_REMOTE_KVS or r.num_computed_tokens > 0
            for r in self.skipped_waiting
        )
        waiting = [self._table[r.request_id].candidate for r in self.waiting]
        iteration = Iteration(
            now_s=now_s,
            running=(),
            waiting=waiting,
            rotary=rotary,
            free_blocks=self._hbm.free_blocks,
            arriving_blocks=self._residency.blocks_in_flight(JobKind.OUT)
            + sum(len(blocks) for _, blocks in self.deferred_frees),
            growth_blocks=self._most_growth_blocks(),
            free_seats=self.max_num_running_reqs - len(self.running) - num_loading,
            free_dram_blocks=self._residency.ledger.num_available_slots,
            transfer_blocks=self._residency.transfer_blocks,
            pace=self._step_clock.pace(self._geometry.block_size),
        )
        if is_contended(iteration) or min(self._class_shares.values()) < 1.0:
            # Only now does it matter what each running request holds.
            running, growth_blocks = self._refreshed_running(is_stuck)
            iteration = within_shares(
                replace(iteration, running=running, growth_blocks=growth_blocks),
                self._class_shares,
                self._hbm.allocated_blocks,
            )
        decision = self._decide(iteration)
        self._last_decision = decision
        self._stalls += decision.stalled
        self._discard([self._table[c.request_id] for c in decision.discard])
        self._rotate_out([self._table[c.request_id] for c in decision.rotate_out])
        for candidate in decision.rotate_in:
            self._rotate_in(self._table[candidate.request_id])
        if not decision.contended and decision.admit == waiting:
            return []
        admitted = {c.request_id for c in decision.admit}
        held = [r for r in self.waiting if r.request_id not in admitted]
        self.waiting = create_request_queue(self.policy)
        for candidate in decision.admit:
            self.waiting.add_request(self._table[candidate.request_id].request)
        return held

    def _most_growth_blocks(self) -> int:
        """No less than what running requests' growth will ask for, without asking each."""
        return self._table.most_growth(len(self.running)) + sum(
            self._refresh(request)
            for request in self._inflight_prefills
            if request.status == RequestStatus.RUNNING
        )

    def _refreshed_running(self, is_stuck: bool) -> tuple[list[Candidate], int]:
        """Running requests as they are now, and the blocks that their growth will ask for."""
        running: list[Candidate] = []
        growth_blocks = 0
        for request in self.running:
            growth_blocks += self._refresh(request)
            candidate = self._table[request.request_id].candidate
            candidate.rotatable &= not is_stuck
            running.append(candidate)
        return running, growth_blocks

    def _refresh(self, request: Request) -> int:
        num_held = len(self._held_blocks(request.request_id))
        return self._table.refresh_running(
            self._table[request.request_id],
            num_held,
            self._residency.ledger.num_unmirrored(request.request_id, num_held),
        )

    def _reclaim_skipped(self) -> None:
        """Requests that vLLM set aside without KV are the policy's to order again."""
        back = [
            r
            for r in self.skipped_waiting
            if r.num_computed_tokens == 0 and not self._is_blocked_waiting_status(r.status)
        ]
        if back:
            self.skipped_waiting.remove_requests(back)
            self.waiting.prepend_requests(reversed(back))

    # --- vLLM's hooks -----------------------------------------------------------------------

    def add_request(self, request: Request) -> None:
        is_new = request.request_id not in self.requests
        super().add_request(request)
        if is_new:
            # Arrival is wall-clock at the front end; everything here is monotonic.
            waited_s = max(time.time() - request.arrival_time, 0.0)
            self._table.add(request, self.clock() - waited_s)

    def finish_requests(
        self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus
    ) -> list[Request]:
        finished: list[Request] = super().finish_requests(request_ids, finished_status)
        now_s = self.clock()
        for request in finished:
            tracked = self._table.pop(request.request_id)
            if tracked is not None:
                self._accounting.aborted(tracked.candidate, tracked.slo_class, now_s)
        return finished

    def _build_kv_connector_meta(
        self, connector: Any, scheduler_output: SchedulerOutput
    ) -> RotationMetadata:
        if self._rotation_off_reason is not None:
            return RotationMetadata()
        if self._should_mirror():
            self._mirror()
        orders = self._residency.take_orders()
        return RotationMetadata(orders.jobs, orders.add_slabs, orders.drop_slabs)

    def has_requests(self) -> bool:
        return bool(super().has_requests()) or self._mailbox.pending or self._residency.busy

    def shutdown(self) -> None:
        if self._control is not None:
            self._control.close()
        super().shutdown()

    # --- bookkeeping ------------------------------------------------------------------------

    def _apply_wishes(self) -> None:
        for wish in self._mailbox.take():
            if wish.hbm_bytes is not None:
                self._hbm.resize(wish.hbm_bytes // self._geometry.block_bytes)
            if wish.dram_bytes is not None:
                self._residency.slots.resize(wish.dram_bytes // self._geometry.slab_bytes)
            self._class_shares.update(wish.class_shares)

    def _should_mirror(self) -> bool:
        """Mirrors are worth link and DRAM only where rotations are near."""
        if self._residency.is_stuck:
            return False
        return self._last_decision.contended or (
            self._hbm.used_blocks * 2 > self._hbm.allocated_blocks
        )

    def _arrival_s(self, request: Request) -> float:
        return self._table[request.request_id].candidate.arrival_s

    def _note_scheduled(self, output: SchedulerOutput, now_s: float) -> None:
        started = [request.req_id for request in output.scheduled_new_reqs]
        for request_id in (*started, *output.scheduled_cached_reqs.resumed_req_ids):
            self._table[request_id].candidate.run_start_s = now_s
        self._step_clock.scheduled(output.num_scheduled_tokens, now_s)

    def _max_lag_s(self) -> dict[str, float]:
        largest: dict[str, float] = {}
        for lag_s, candidate in self._last_decision.lagging:
            tracked = self._table.get(candidate.request_id)
            if tracked is not None and lag_s > largest.get(tracked.slo_class, 0.0):
                largest[tracked.slo_class] = lag_s
        return largest

    def _snapshot(self, ttft_samples: Any = (), finish_samples: Any = ()) -> Any:
        return self._snapshots.build(
            rotation_off_reason=self._rotation_off_reason,
            num_running=len(self.running),
            num_waiting=len(self.waiting) + len(self.skipped_waiting),
            num_rotary=len(self._parked),
            rotation_stalls=self._stalls,
            recompute_preemptions=self._recompute_preemptions,
            transfer_budget=self._transfer_budget,
            max_lag_s=self._max_lag_s(),
            class_shares=self._class_shares,
            ttft_samples=ttft_samples,
            finish_samples=finish_samples,
        )
