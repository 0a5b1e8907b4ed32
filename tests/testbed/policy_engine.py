"""A small engine of blocks and steps on a fake clock, for the policy in a closed loop.

It prefills a prompt in one step, makes one token a step for each running request, moves KV in
``copy_steps`` steps, and preempts by recompute, as vLLM does, when growth cannot be met. It checks
each decision against what it really has. Serving in order of arrival with recompute preemption is
the same engine without the policy.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Candidate, Targets
from superinfer_runtime.policy.rotasched import Iteration, blocks_ahead, decide

BLOCK_SIZE = 16
STEP_S = 0.03
PREFILL_TOKEN_S = 0.00005
MAX_PREFILL_TOKENS = 1024


def blocks_for(num_tokens: int) -> int:
    return -(-num_tokens // BLOCK_SIZE)


@dataclass(eq=False)
class Job:
    """One request's life in the engine."""

    candidate: Candidate
    prompt_tokens: int
    blocks: int = 0
    dram_blocks: int = 0
    due_step: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.candidate.num_tokens

    def blocks_ahead(self, knobs: SchedulerKnobs) -> int:
        end_tokens = self.prompt_tokens + self.candidate.max_tokens
        return blocks_ahead(self.total_tokens, end_tokens, knobs.growth_horizon_steps, BLOCK_SIZE)

    @property
    def finished(self) -> bool:
        return self.candidate.num_tokens == self.candidate.max_tokens

    @property
    def is_good(self) -> bool:
        candidate, targets = self.candidate, self.candidate.targets
        assert candidate.first_token_s is not None
        decode_s = candidate.last_token_s - candidate.first_token_s
        return (
            candidate.first_token_s - candidate.arrival_s <= targets.ttft_s
            and decode_s <= targets.tbt_s * max(candidate.num_tokens - 1, 1)
        )


def make_job(
    name: str, arrival_s: float, prompt: int, output: int, targets: Targets | None = None
) -> Job:
    targets = targets or Targets(ttft_s=5.0, tbt_s=0.1)
    return Job(Candidate(name, targets, arrival_s, max_tokens=output), prompt)


@dataclass
class FakeEngine:
    """See the module's text. ``knobs`` None: first come, first served."""

    jobs: Sequence[Job]
    num_blocks: int
    knobs: SchedulerKnobs | None
    num_dram: int = 1 << 20
    num_seats: int = 256
    copy_steps: int = 2
    transfer_blocks: int = 256
    now_s: float = 0.0
    step_count: int = 0
    rotations: int = 0
    preemptions: int = 0
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    leaving: list[Job] = field(default_factory=list)
    rotary: list[Job] = field(default_factory=list)
    discards: int = 0
    entering: list[Job] = field(default_factory=list)
    done: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._coming = sorted(self.jobs, key=lambda job: job.candidate.arrival_s)

    @property
    def used_blocks(self) -> int:
        return sum(job.blocks for job in (*self.running, *self.leaving, *self.entering))

    @property
    def used_dram(self) -> int:
        return sum(job.dram_blocks for job in (*self.leaving, *self.rotary, *self.entering))

    @property
    def free_blocks(self) -> int:
        return self.num_blocks - self.used_blocks

    def run(self, max_steps: int) -> None:
        while len(self.done) < len(self.jobs):
            assert self.step_count < max_steps, f"{len(self.done)} of {len(self.jobs)} finished"
            self.step()

    def step(self) -> None:
        self.step_count += 1
        self._arrive_and_acknowledge()
        admitted = self.waiting if self.knobs is None else self._rotate(self.knobs)
        self._resume_loaded()
        num_prefill = 0
        if not self._grow():
            num_prefill = self._admit(list(admitted))
        assert self.used_blocks <= max(self.num_blocks, self._used_before)
        assert self.used_dram <= self.num_dram
        assert len(self.running) + len(self.entering) <= self.num_seats
        self.now_s += STEP_S + num_prefill * PREFILL_TOKEN_S
        for job in self.running:
            job.candidate.record_tokens(1, self.now_s)
        self.done += [job for job in self.running if job.finished]
        self.running = [job for job in self.running if not job.finished]

    def _arrive_and_acknowledge(self) -> None:
        idle = not (self.waiting or self.running or self.leaving or self.rotary or self.entering)
        if idle and self._coming:
            self.now_s = max(self.now_s, self._coming[0].candidate.arrival_s)
        while self._coming and self._coming[0].candidate.arrival_s <= self.now_s:
            self.waiting.append(self._coming.pop(0))
        for job in [job for job in self.leaving if job.due_step <= self.step_count]:
            self.leaving.remove(job)
            job.blocks = 0
            self.rotary.append(job)
        self._used_before = self.used_blocks

    def _rotate(self, knobs: SchedulerKnobs) -> list[Job]:
        by_candidate = {id(job.candidate): job for job in self.jobs}
        growth = 0
        for job in self.running:
            left = job.candidate.max_tokens - job.candidate.num_tokens
            growth += max(job.blocks_ahead(knobs) - job.blocks, 0)
            job.candidate.blocks = job.candidate.dram_blocks = job.blocks
            job.candidate.rotatable = left > knobs.growth_horizon_steps
        for job in (*self.waiting, *self.rotary):
            job.candidate.blocks = job.blocks_ahead(knobs)
            job.candidate.dram_blocks = job.dram_blocks
        in_flight = sum(job.blocks for job in (*self.leaving, *self.entering))
        iteration = Iteration(
            now_s=self.now_s,
            running=[job.candidate for job in self.running],
            waiting=[job.candidate for job in self.waiting],
            rotary=[job.candidate for job in self.rotary],
            free_blocks=self.free_blocks,
            arriving_blocks=sum(job.blocks for job in self.leaving),
            growth_blocks=growth,
            free_seats=self.num_seats - len(self.running) - len(self.entering),
            free_dram_blocks=self.num_dram - self.used_dram,
            transfer_blocks=max(self.transfer_blocks - in_flight, 0),
        )
        decision = decide(iteration, knobs)
        for candidate in decision.discard:
            job = by_candidate[id(candidate)]
            self.rotary.remove(job)
            job.dram_blocks = job.blocks = 0
            self.waiting.insert(0, job)
            self.discards += 1
        for victim in decision.rotate_out:
            job = by_candidate[id(victim)]
            self.running.remove(job)
            job.dram_blocks = job.blocks
            job.due_step = self.step_count + self.copy_steps
            self.leaving.append(job)
            self.rotations += 1
        for candidate in decision.rotate_in:
            job = by_candidate[id(candidate)]
            self.rotary.remove(job)
            job.blocks = candidate.blocks
            job.due_step = self.step_count + self.copy_steps
            self.entering.append(job)
        assert self.free_blocks >= min(iteration.free_blocks, 0)
        return [by_candidate[id(candidate)] for candidate in decision.admit]

    def _resume_loaded(self) -> None:
        """After the decision, as in vLLM: a stint is one token at least."""
        for job in [job for job in self.entering if job.due_step <= self.step_count]:
            self.entering.remove(job)
            job.dram_blocks = 0
            job.candidate.run_start_s = self.now_s
            self.running.append(job)

    def _grow(self) -> bool:
        """Give each running request room for its next token; return whether one was preempted."""
        preempted = False
        index = 0
        while index < len(self.running):
            job = self.running[index]
            needed = blocks_for(job.total_tokens + 1) - job.blocks
            while needed > 0 and needed > self.free_blocks and len(self.running) > index:
                self._preempt(self.running.pop())
                preempted = True
            if len(self.running) > index:
                job.blocks += max(needed, 0)
            index += 1
        return preempted

    def _preempt(self, job: Job) -> None:
        job.blocks = 0
        job.candidate.rotatable = False
        self.waiting.insert(0, job)
        self.preemptions += 1

    def _admit(self, admitted: list[Job]) -> int:
        num_prefill = 0
        for job in admitted:
            needed = blocks_for(job.total_tokens + 1)
            if (
                needed > self.free_blocks
                or len(self.running) + len(self.entering) >= self.num_seats
                or (num_prefill and num_prefill + job.total_tokens > MAX_PREFILL_TOKENS)
            ):
                break
            self.waiting.remove(job)
            job.blocks = needed
            job.candidate.run_start_s = self.now_s
            self.running.append(job)
            num_prefill += job.total_tokens
        return num_prefill


def poisson_jobs(seed: int, rate_per_s: float, duration_s: float) -> list[Job]:
    """Chat-like lengths: mean 222 tokens in and 396 out, long-tailed."""
    rng = random.Random(seed)
    jobs: list[Job] = []
    now_s = 0.0
    while (now_s := now_s + rng.expovariate(rate_per_s)) < duration_s:
        prompt = min(max(int(rng.lognormvariate(4.9, 1.0)), 4), 2000)
        output = min(max(int(rng.lognormvariate(5.68, 0.8)), 4), 1500)
        jobs.append(make_job(f"r{len(jobs)}", now_s, prompt, output))
    return jobs


def joint_attainment(engine: FakeEngine) -> float:
    engine.run(200_000)
    return sum(job.is_good for job in engine.jobs) / len(engine.jobs)


CLASSES = (
    Targets(5.0, 0.1),
    Targets(0.2, 0.04, ttft_urgency=25.0, tbt_urgency=2.5),
    Targets(0.01, 0.001, ttft_urgency=0.1, tbt_urgency=0.1),  # lost from the start
)
