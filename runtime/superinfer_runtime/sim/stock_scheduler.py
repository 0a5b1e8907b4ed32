"""vLLM V1's scheduler as it is, on plain numbers: what stock vLLM 0.26.0 decides, step by step.

One token budget for all: running requests first, each catching up with the tokens it knows, then
waiting ones in order while their whole prompt fits; a prompt longer than the budget goes on in the
next step. When a running request needs a block and none is free, the last of the running ones loses
its KV and is computed again later. With asynchronous scheduling a step is planned while the one
before it runs. Source: `vllm/v1/core/sched/{scheduler,async_scheduler}.py`; a test drives the real
one beside it and compares every decision.

Invariant: blocks held by requests and by copies never exceed the pool.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from superinfer_runtime.sim.block_pool import BlockPool
from superinfer_runtime.sim.live_request import LiveRequest, Where


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """vLLM's engine arguments that matter here; the defaults are those of the paper's grid."""

    block_size: int = 16
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    max_model_len: int = 32768
    prefix_caching: bool = True
    async_scheduling: bool = True

    @property
    def max_steps_in_flight(self) -> int:
        return 2 if self.async_scheduling else 1


@dataclass(slots=True)
class ScheduledStep:
    """One step's work: requests with the tokens that each computes, and what the GPU sees of it."""

    work: list[tuple[LiveRequest, int, bool]] = field(default_factory=list)
    """(request, tokens, whether it samples a token)"""
    num_decodes: int = 0
    decode_context_tokens: int = 0
    prefills: list[tuple[int, int]] = field(default_factory=list)
    """(tokens, tokens before them)"""
    num_sampled: int = 0
    seq: int = 0

    @property
    def num_prefill_tokens(self) -> int:
        return sum(count for count, _ in self.prefills)


class StockScheduler:
    """See the module's text."""

    may_defer_frees = False
    """Whether blocks that a step in flight may still write return only after it."""

    def __init__(self, limits: EngineLimits, num_blocks: int) -> None:
        self.limits = limits
        self.pool = BlockPool(num_blocks)
        self.running: list[LiveRequest] = []
        self.waiting: deque[LiveRequest] = deque()
        self.loading: deque[LiveRequest] = deque()
        """Hold blocks and are about to run; vLLM's ``skipped_waiting``."""
        self.max_step_tokens = limits.max_num_batched_tokens
        self.recomputes = 0
        self.computed_prompt_tokens = 0
        self._seq = 0
        self._processed_seq = 0
        self._deferred: deque[tuple[int, list[int]]] = deque()

    @property
    def has_requests(self) -> bool:
        return bool(self.running or self.waiting or self.loading)

    @property
    def num_waiting(self) -> int:
        return len(self.waiting) + len(self.loading)

    @property
    def num_rotary(self) -> int:
        return 0

    @property
    def used_blocks(self) -> int:
        return self.pool.num_blocks - self.pool.get_num_free_blocks()

    def add(self, live: LiveRequest) -> None:
        """A request arrives. Raises ValueError if it could never run."""
        needed = -(-min(live.end_tokens, self.limits.max_model_len) // self.limits.block_size)
        if live.max_tokens < 1 or needed > self.pool.num_blocks:
            raise ValueError(
                f"request {live.request_id} of {live.num_prompt_tokens} + "
                f"{live.request.output_tokens} tokens can never run: the model takes "
                f"{self.limits.max_model_len} tokens, HBM holds "
                f"{self.pool.num_blocks * self.limits.block_size}; limit the lengths"
            )
        if not self.limits.prefix_caching:
            live.content = None
        self.waiting.append(live)

    def schedule(self, now_s: float) -> ScheduledStep:
        """Plan the next step; without work it is empty."""
        step = ScheduledStep()
        budget = self.max_step_tokens
        budget, preempted = self._schedule_running(step, budget)
        if not preempted:
            self._schedule_waiting(step, budget)
        if step.work:
            self._seq += 1
            self._advance(step)
        return step

    def update(self, step: ScheduledStep, now_s: float) -> list[LiveRequest]:
        """The step's output is in; return the requests that ended with it."""
        self._processed_seq = max(self._processed_seq, step.seq)
        while self._deferred and self._deferred[0][0] <= self._processed_seq:
            self.pool.free_blocks(reversed(self._deferred.popleft()[1]))
        asynchronous = self.limits.async_scheduling
        done: list[LiveRequest] = []
        for live, count, samples in step.work:
            live.num_in_flight_tokens -= count
            if not samples or live.where is Where.DONE:
                continue
            live.num_output_placeholders -= 1
            if live.add_token(now_s):
                done.append(live)
            if asynchronous and live.content is not None and live.where is Where.RUNNING:
                self._cache(live, live.num_computed_tokens - live.num_output_placeholders)
        if done:
            self._finish(done)
        return done

    # --- the two halves of a step -------------------------------------------------------------

    def _schedule_running(self, step: ScheduledStep, budget: int) -> tuple[int, bool]:
        running, pool, work = self.running, self.pool, step.work
        block_size, max_len = self.limits.block_size, self.limits.max_model_len
        preempted = False
        index = 0
        while index < len(running) and budget > 0:
            live = running[index]
            index += 1
            computed = live.num_computed_tokens
            placeholders = live.num_output_placeholders
            if placeholders and computed + 2 - placeholders >= (
                live.num_prompt_tokens + live.max_tokens
            ):
                continue  # the step in flight makes its last token
            count = min(live.num_tokens + placeholders - computed, budget, max_len - computed - 1)
            if count <= 0:
                continue
            needed = -(-(computed + count) // block_size) - len(live.blocks)
            if needed > 0:
                while needed > pool.get_num_free_blocks():
                    victim = running.pop()
                    self._preempt(victim)
                    preempted = True
                    if victim is live:
                        return budget, True
                live.blocks += pool.get_new_blocks(needed)
            if live.content is not None:
                self._cache(live, computed + count)
            work.append((live, count, False))
            budget -= count
        return budget, preempted

    def _schedule_waiting(self, step: ScheduledStep, budget: int) -> None:
        limits, pool = self.limits, self.pool
        stuck: list[LiveRequest] = []
        while (self.loading or self.waiting) and budget > 0:
            if len(self.running) >= limits.max_num_seqs:
                break
            queue = self.loading or self.waiting
            live = queue[0]
            if queue is self.loading and not self._is_loaded(live):
                stuck.append(queue.popleft())
                continue
            hits: list[int] = []
            computed = live.num_computed_tokens
            if computed == 0 and live.content is not None:
                hits = self._cached_prefix(live)
                computed = len(hits) * limits.block_size
            count = min(live.num_tokens - computed, budget)
            held = len(live.blocks) + len(hits)
            whole = -(-live.num_tokens // limits.block_size) - held
            needed = -(-(computed + count) // limits.block_size) - held
            if max(whole, needed) + sum(map(pool.is_free, hits)) > pool.get_num_free_blocks():
                break
            queue.popleft()
            if hits:
                pool.touch(hits)
                live.blocks += hits
                live.num_cached_blocks = len(hits)
                if not live.cached_tokens and live.first_token_s < 0.0:
                    live.cached_tokens = computed
            if needed > 0:
                live.blocks += pool.get_new_blocks(needed)
            live.num_computed_tokens = computed
            if live.content is not None:
                self._cache(live, computed + count)
            live.where = Where.RUNNING
            self._admitted(live)
            self.running.append(live)
            step.work.append((live, count, False))
            budget -= count
        self.loading.extendleft(reversed(stuck))

    def _advance(self, step: ScheduledStep) -> None:
        """What a step computes counts as computed from the moment it is planned."""
        step.seq = self._seq
        work = step.work
        for index, (live, count, _) in enumerate(work):
            past = live.num_computed_tokens
            computed = past + count
            live.num_computed_tokens = computed
            live.num_in_flight_tokens += count
            live.last_sched_seq = self._seq
            if count == 1 and past >= live.num_prompt_tokens:
                step.num_decodes += 1
                step.decode_context_tokens += computed
            else:
                step.prefills.append((count, past))
                self.computed_prompt_tokens += count
            is_chunk = computed < live.num_tokens + live.num_output_placeholders
            live.is_prefill_chunk = is_chunk
            if not is_chunk:
                live.num_output_placeholders += 1
                step.num_sampled += 1
                work[index] = (live, count, True)

    # --- requests come and go -----------------------------------------------------------------

    def _is_loaded(self, live: LiveRequest) -> bool:
        return True

    def _admitted(self, live: LiveRequest) -> None:
        """A request starts to run, or runs again."""

    def _preempt(self, live: LiveRequest) -> None:
        """Throw its KV away; it comes first among those that wait."""
        self._release(live)
        live.where = Where.WAITING
        live.num_computed_tokens = 0
        live.recomputes += 1
        self.recomputes += 1
        self.waiting.appendleft(live)

    def _finish(self, done: Sequence[LiveRequest]) -> None:
        gone = set(map(id, done))
        for live in done:
            if live.where is Where.WAITING:
                self.waiting.remove(live)
            elif live.where is Where.LOADING:
                self.loading.remove(live)
            self._release(live)
            live.where = Where.DONE
        self.running = [live for live in self.running if id(live) not in gone]

    def _release(self, live: LiveRequest) -> None:
        """Give its references on HBM back, at once or after the step in flight."""
        blocks, live.blocks = live.blocks, []
        live.num_cached_blocks = 0
        if not blocks:
            return
        if self.may_defer_frees and live.last_sched_seq > self._processed_seq:
            self._deferred.append((self._seq, blocks))
        else:
            self.pool.free_blocks(reversed(blocks))

    @property
    def deferred_blocks(self) -> int:
        """Blocks that return to the pool with steps in flight."""
        return sum(len(blocks) for _, blocks in self._deferred)

    # --- prefix cache -------------------------------------------------------------------------

    def _cached_prefix(self, live: LiveRequest) -> list[int]:
        """HBM blocks that hold the start of its tokens; the last token is always computed."""
        num_blocks = (live.num_tokens - 1) // self.limits.block_size
        live.extend_keys(num_blocks, self.limits.block_size)
        return self.pool.cached_prefix(live.keys[:num_blocks])

    def _cache(self, live: LiveRequest, num_tokens: int) -> None:
        """Others may use the blocks of its first ``num_tokens`` tokens, as far as those are known.

        From the moment they are planned, as in vLLM: whoever uses them computes after them.
        """
        num_full = min(num_tokens, live.num_tokens) // self.limits.block_size
        if num_full <= live.num_cached_blocks:
            return
        live.extend_keys(num_full, self.limits.block_size)
        for index in range(live.num_cached_blocks, num_full):
            key = live.keys[index]
            if key is not None:
                self.pool.cache(live.blocks[index], key)
        live.num_cached_blocks = num_full
