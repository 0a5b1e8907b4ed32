"""The policy in a closed loop with a small engine: nobody starves, uncontended is FCFS."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_engine import (
    CLASSES,
    STEP_S,
    FakeEngine,
    Job,
    blocks_for,
    joint_attainment,
    make_job,
    poisson_jobs,
)
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_runtime.policy.candidate import Targets
from superinfer_runtime.policy.lag import relegation_bound_s


@st.composite
def engines(draw: st.DrawFn) -> FakeEngine:
    """Few requests in little memory: tiny and nearly as large as HBM, together and apart."""
    shapes = st.tuples(
        st.floats(0.0, 1.0), st.integers(1, 150), st.integers(1, 60), st.sampled_from(CLASSES)
    )
    jobs: list[Job] = []
    now_s = 0.0
    for gap_s, prompt, output, targets in draw(st.lists(shapes, min_size=1, max_size=12)):
        now_s += gap_s if gap_s > 0.5 else 0.0
        jobs.append(make_job(f"r{len(jobs)}", now_s, prompt, output, targets))
    return FakeEngine(
        jobs,
        num_blocks=least_blocks(jobs) + draw(st.integers(0, 20)),
        knobs=SchedulerKnobs(
            run_quantum_s=draw(st.sampled_from([0.0, 0.1, 0.5])),
            relegate=draw(st.booleans()),
            tbt_credit=draw(st.sampled_from([0.0, 0.5])),
        ),
        num_dram=draw(st.sampled_from([0, 7, 1 << 20])),
        num_seats=draw(st.sampled_from([1, 3, 256])),
        copy_steps=draw(st.integers(1, 5)),
        transfer_blocks=draw(st.sampled_from([1, 8, 256])),
    )


def least_blocks(jobs: Sequence[Job]) -> int:
    """The largest request fits alone, as vLLM demands."""
    return max(blocks_for(job.prompt_tokens + job.candidate.max_tokens) for job in jobs) + 1


def patience(engine: FakeEngine) -> int:
    """Steps to serve all one after the other, three times over, with a rotation each token."""
    one_by_one = sum(job.candidate.max_tokens + 2 * engine.copy_steps for job in engine.jobs)
    return 3 * one_by_one * (1 + engine.copy_steps)


@settings(max_examples=150)
@given(engine=engines())
def test_every_request_finishes(engine: FakeEngine) -> None:
    engine.run(patience(engine))
    assert (engine.used_blocks, engine.used_dram) == (0, 0)


@settings(max_examples=75)
@given(engine=engines(), at_step=st.integers(1, 40), back_after=st.integers(1, 40))
def test_every_request_finishes_while_hbm_shrinks_and_grows(
    engine: FakeEngine, at_step: int, back_after: int
) -> None:
    full = engine.num_blocks
    max_steps = patience(engine)
    while len(engine.done) < len(engine.jobs):
        assert engine.step_count < max_steps
        if engine.step_count == at_step:
            engine.num_blocks = least_blocks(engine.jobs)
        if engine.step_count == at_step + back_after:
            engine.num_blocks = full
        engine.step()


@given(seed=st.integers(0, 1 << 16), num_jobs=st.integers(1, 20))
def test_under_loaded_it_is_first_come_first_served(seed: int, num_jobs: int) -> None:
    rng = random.Random(seed)
    jobs = [
        make_job(f"r{n}", rng.uniform(0, 3), rng.randint(1, 300), rng.randint(1, 40))
        for n in range(num_jobs)
    ]
    need = sum(blocks_for(job.prompt_tokens + 2 * job.candidate.max_tokens) for job in jobs)
    engine = FakeEngine(jobs, num_blocks=need, knobs=SchedulerKnobs())
    engine.run(2000)
    assert (engine.rotations, engine.preemptions) == (0, 0)
    by_arrival = sorted(jobs, key=lambda job: job.candidate.arrival_s)
    first_s = [job.candidate.first_token_s or 0.0 for job in by_arrival]
    assert first_s == sorted(first_s)


def test_a_relegated_request_gets_in_within_its_bound() -> None:
    """A stream of requests that can be good never stops; the relegated one still gets in."""
    knobs = SchedulerKnobs(relegation_ageing=0.2)
    targets = Targets(1.0, 0.1)
    stream = [make_job(f"s{n}", 0.1 * n, 60, 60, targets) for n in range(400)]
    late = make_job("late", 0.0, 120, 10, targets)
    late.candidate.arrival_s = -1.1  # lost when it comes
    engine = FakeEngine([late, *stream], num_blocks=40, knobs=knobs, num_dram=0)
    bound_s = relegation_bound_s(late.candidate, knobs)
    while late.candidate.first_token_s is None:
        engine.step()
        # From the bound on it is the head; then it waits only for blocks, a stint at the most.
        assert engine.now_s <= late.candidate.arrival_s + bound_s + 60 * 2 * STEP_S
    assert len(engine.done) < len(stream), "the stream was still coming"
    engine.run(50_000)


def attainment(rate_per_s: float, knobs: SchedulerKnobs | None, **sizes: int) -> float:
    """On one fixed minute of requests; HBM alone is enough for about 1.2 a second."""
    return joint_attainment(FakeEngine(poisson_jobs(1, rate_per_s, 60.0), 560, knobs, **sizes))


@pytest.mark.parametrize("rate_per_s", [0.8, 1.4, 2.0, 4.0])
@pytest.mark.parametrize(
    "sizes",
    [{}, {"num_dram": 200}, {"num_dram": 0}, {"transfer_blocks": 8, "copy_steps": 4}],
    ids=["roomy", "little DRAM", "no DRAM", "slow link"],
)
def test_at_no_load_is_it_worse_than_first_come_first_served(
    rate_per_s: float, sizes: dict[str, int]
) -> None:
    stock = attainment(rate_per_s, None, **sizes)
    assert attainment(rate_per_s, SchedulerKnobs(), **sizes) >= stock - 0.02


def test_under_contention_it_is_clearly_better() -> None:
    assert attainment(2.0, SchedulerKnobs()) >= attainment(2.0, None) + 0.3
