"""RotatingScheduler: how a request moves between HBM and DRAM inside stock vLLM 0.26.0.

The mechanism without the decisions (`RotaScheduler` makes those), on vLLM's own data structures:

* *rotate out*: the request leaves ``running``; copies under way hold references of their own on its
  HBM blocks, its own references go through vLLM's `_free_request_blocks` (which defers them while a
  step is in flight). It is *parked* in a container of ours, never in vLLM's queues: vLLM 0.26.0
  leaves a request that finishes in an in-flight step in ``skipped_waiting`` and dies of it.
* *rotate in*: blocks are allocated here, its growth ahead, and the request enters vLLM's own
  WAITING_FOR_REMOTE_KVS path; once the load is acknowledged vLLM computes exactly one token.
* *lost*: a failed copy, vLLM's own preemption, or a policy that wants the DRAM for others sends
  the request back to be computed again.
* *stuck*: while a copy does not end nothing rotates, and whoever is out is computed again.
"""

from typing import Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.outputs import KVConnectorOutput
from vllm.v1.request import Request, RequestStatus

from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.engine.hbm_budget import HbmBudget
from superinfer_runtime.engine.messages import WorkerReport
from superinfer_runtime.engine.requests import RequestTable, Tracked
from superinfer_runtime.engine.residency import KvResidency
from superinfer_runtime.engine.vllm_kv import geometry_of, rotation_obstacle
from superinfer_runtime.policy.transfer_budget import TransferBudget

logger = init_logger("vllm.superinfer")


class RotatingScheduler(AsyncScheduler):
    """See the module's text; it overrides hooks of `vllm/v1/core/sched/scheduler.py`."""

    running: list[Request]
    waiting: Any
    skipped_waiting: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = EngineConfig.from_vllm(self.vllm_config)
        self._config = config
        self._rotation_off_reason = rotation_obstacle(
            self.vllm_config, self.kv_cache_config, config
        )
        if self._rotation_off_reason is not None:
            logger.warning("KV rotation is off: %s", self._rotation_off_reason)
        geometry = geometry_of(self.vllm_config, self.kv_cache_config, config)
        self._geometry = geometry
        self._block_pool = self.kv_cache_manager.block_pool
        self._transfer_budget = TransferBudget(
            geometry.block_bytes, config.scheduler.transfer_budget_blocks
        )
        self._residency = KvResidency(self._block_pool, geometry, self._transfer_budget)
        self._hbm = self._make_hbm_budget()
        self._table = RequestTable(config, geometry.block_size, self.max_model_len)
        self._parked: dict[str, Tracked] = {}
        self._recompute_preemptions = 0
        self._stalls = 0

    def _rotate_out(self, victims: list[Tracked]) -> None:
        if not victims:
            return
        leaving: set[Request] = set()
        for tracked in victims:
            request = tracked.request
            num_tokens = request.num_computed_tokens
            if not self._residency.ledger.can_rotate_out(request.request_id, num_tokens):
                self._stalls += 1
                continue
            blocks = [block.block_id for block in self._held_blocks(request.request_id)]
            self._residency.rotate_out(request.request_id, blocks, num_tokens)
            self._free_request_blocks(request)
            self.encoder_cache_manager.free(request)
            self._inflight_prefills.discard(request)
            request.status = RequestStatus.PREEMPTED
            request.num_computed_tokens = 0
            # Not a preemption to the user (no PREEMPTED event), but to vLLM's resume path it is.
            request.num_preemptions += 1
            self.reset_preempted_req_ids.add(request.request_id)
            tracked.saved_tokens = num_tokens
            self._table.refresh_rotary(tracked)
            self._parked[request.request_id] = tracked
            leaving.add(request)
        self.running = [request for request in self.running if request not in leaving]

    def _rotate_in(self, tracked: Tracked) -> None:
        request = tracked.request
        hits, num_present = self._local_hits(request, tracked.saved_tokens)
        allocated = self.kv_cache_manager.allocate_slots(
            request,
            num_new_tokens=0,
            num_new_computed_tokens=num_present * self._geometry.block_size,
            new_computed_blocks=hits,
            # All that the policy counted: once loaded it can run, and grow, whatever became of the
            # free blocks. While it loads it is nobody whose growth is kept free.
            num_lookahead_tokens=tracked.candidate.blocks * self._geometry.block_size
            - tracked.saved_tokens,
            num_external_computed_tokens=tracked.saved_tokens
            - num_present * self._geometry.block_size,
            delay_cache_blocks=True,
            has_scheduled_reqs=False,
        )
        if allocated is None:
            return  # the policy counts blocks conservatively, so this is rare: try again
        del self._parked[request.request_id]
        blocks = [block.block_id for block in self._held_blocks(request.request_id)]
        self._residency.rotate_in(request.request_id, blocks, num_present)
        request.status = RequestStatus.WAITING_FOR_REMOTE_KVS
        request.num_computed_tokens = tracked.saved_tokens
        self.skipped_waiting.add_request(request)

    def _local_hits(self, request: Request, saved_tokens: int) -> tuple[Any, int]:
        """Blocks of the request that HBM's prefix cache still holds; at least one stays to load."""
        if not self.kv_cache_manager.enable_caching:
            return None, 0
        hits, num_tokens, _ = self.kv_cache_manager.get_computed_blocks(request)
        block_size = self._geometry.block_size
        num_present = min(num_tokens, saved_tokens - 1) // block_size
        return self.kv_cache_manager.create_kv_cache_blocks((hits.blocks[0][:num_present],)), (
            num_present
        )

    def _mirror(self) -> None:
        ledger = self._residency.ledger
        wanted: list[tuple[str, list[int], int]] = []
        for request in self.running:
            # What is in flight is not written yet.
            num_written = request.num_computed_tokens - request.num_in_flight_tokens
            num_full = num_written // self._geometry.block_size
            if ledger.has_unmirrored(request.request_id, num_full):
                blocks = self._held_blocks(request.request_id)[:num_full]
                wanted.append((request.request_id, [b.block_id for b in blocks], num_full))
        self._residency.mirror(wanted)

    def _recompute(self, tracked: Tracked) -> None:
        """Its KV is lost: back to the queue, to be computed again."""
        request = tracked.request
        self._parked.pop(request.request_id, None)
        if request.status == RequestStatus.WAITING_FOR_REMOTE_KVS:
            self.skipped_waiting.remove_requests([request])
            self.kv_cache_manager.free(request)
        request.status = RequestStatus.PREEMPTED
        request.num_computed_tokens = 0
        self._recompute_preemptions += 1
        self._table.refresh_waiting(tracked)
        self.waiting.prepend_request(request)

    def _discard(self, parked: list[Tracked]) -> None:
        """Their DRAM is wanted for others: back to the queue."""
        for tracked in parked:
            self._residency.ledger.forget(tracked.request.request_id)
            self._recompute(tracked)

    def _recompute_parked(self) -> None:
        """The link is stuck, so KV in DRAM cannot come back."""
        settled = [tracked for tracked in self._parked.values() if not is_in_flight(tracked)]
        self._discard(sorted(settled, key=lambda t: t.candidate.arrival_s, reverse=True))

    # --- vLLM's hooks -----------------------------------------------------------------------

    def _free_request(
        self, request: Request, delay_free_blocks: bool = False
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        self._parked.pop(request.request_id, None)
        self._residency.ledger.forget(request.request_id)
        result: tuple[dict[str, Any] | None, dict[str, Any] | None] = super()._free_request(
            request, delay_free_blocks
        )
        return result

    def _preempt_request(self, request: Request, timestamp: float) -> None:
        """vLLM's own preemption, by recompute: the last resort, and counted."""
        super()._preempt_request(request, timestamp)
        self._recompute_preemptions += 1
        self._residency.ledger.forget(request.request_id)
        self._table.refresh_waiting(self._table[request.request_id])

    def _update_from_kv_xfer_finished(self, kv_connector_output: KVConnectorOutput) -> None:
        report = kv_connector_output.kv_connector_worker_meta
        if isinstance(report, WorkerReport):
            if report.slab_error is not None:
                logger.warning("DRAM stays at what there is: %s", report.slab_error)
            for error in {copied.error for copied in report.copied} - {None}:
                logger.error("a KV copy failed: %s", error)
            was_stuck = self._residency.is_stuck
            outcome = self._residency.apply(report)
            if self._residency.is_stuck and not was_stuck:
                logger.error(
                    "a KV copy does not end; serving goes on without rotation until it does"
                )
            elif was_stuck and not self._residency.is_stuck:
                logger.warning("the KV copy that was stuck has ended; rotation goes on")
            lost = set(outcome.lost)
            # vLLM's own bookkeeping of loads; an aborted request's blocks are freed by it here.
            kv_connector_output.finished_recving = {
                request_id
                for request_id in outcome.loads_ended
                if request_id in self.requests and request_id not in lost
            }
            for request_id in outcome.lost:
                logger.warning("KV of request %s was lost in a copy; recomputing it", request_id)
                self._recompute(self._table[request_id])
        super()._update_from_kv_xfer_finished(kv_connector_output)

    def reset_prefix_cache(
        self, reset_running_requests: bool = False, reset_connector: bool = False
    ) -> bool:
        if reset_running_requests:
            for tracked in list(self._parked.values()):
                self._residency.ledger.forget(tracked.request.request_id)
                self._recompute(tracked)
        self._hbm.release_all()  # vLLM wants every block back before it resets
        try:
            return bool(super().reset_prefix_cache(reset_running_requests, reset_connector))
        except RuntimeError:
            if not self._residency.ledger.num_jobs:
                raise
            # A copy under way still holds its block; the caller may ask again in a moment.
            logger.warning("prefix cache not reset: KV copies are under way")
            return False
        finally:
            self._hbm.settle()

    def get_num_unfinished_requests(self) -> int:
        count = int(super().get_num_unfinished_requests())
        return count + len(self._parked) if self._pause_state is PauseState.UNPAUSED else count

    def get_request_counts(self) -> tuple[int, int]:
        num_running, num_waiting = super().get_request_counts()
        return num_running, num_waiting + len(self._parked)

    # --- bookkeeping ------------------------------------------------------------------------

    def _make_hbm_budget(self) -> HbmBudget:
        config, geometry = self._config, self._geometry
        # The longest request must fit, or it could never finish.
        floor = min(-(-self.max_model_len // geometry.block_size) + 1, geometry.num_blocks)
        if config.kv_cache.hbm is not None:
            floor = max(floor, config.kv_cache.hbm.min // geometry.block_bytes)
        budget = HbmBudget(self._block_pool, min(floor, geometry.num_blocks), geometry.num_blocks)
        if config.kv_cache.hbm is not None and self._rotation_off_reason is None:
            budget.resize(config.kv_cache.hbm.initial_bytes // geometry.block_bytes)
        return budget

    def _held_blocks(self, request_id: str) -> list[Any]:
        managers = self.kv_cache_manager.coordinator.single_type_managers
        blocks: list[Any] = managers[0].req_to_blocks.get(request_id, [])
        return blocks


def is_in_flight(tracked: Tracked) -> bool:
    """Whether a step that computes the request is not processed yet."""
    request = tracked.request
    return bool(request.num_output_placeholders or request.num_in_flight_tokens)
