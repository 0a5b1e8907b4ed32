"""Step costs learned from observed steps, and errors of simulated figures against real ones."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.bench.distribution import describe
from superinfer_runtime.bench.report import Summary
from superinfer_runtime.bench.slo_mix import PAPER_MIX
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.measured_steps import MeasuredSteps, StepObservation, fit
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.policies import policy_named
from superinfer_runtime.sim.report.accuracy import Comparison, compare, spreads
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.workload.planned import slo_classes_of

TERMS = ("fixed_s", "decode_s", "context_token_s", "chunk_s", "prefill_token_s")

counts = st.integers(0, 64)
observations = st.lists(
    st.builds(
        StepObservation,
        num_decodes=counts,
        decode_context_tokens=st.integers(0, 20_000),
        num_chunks=counts,
        prefill_tokens=st.integers(0, 1024),
        step_s=st.floats(1e-4, 1.0),
    ),
    min_size=len(TERMS),
    max_size=40,
)


def observed(costs: MeasuredSteps, noise_s: float = 0.0) -> list[StepObservation]:
    """Steps of all kinds, each with its work in one chunk."""
    steps = []
    for number in range(200):
        decodes, prefill = number % 17, (number * 37) % 190
        context, chunks = decodes * (100 + number), int(prefill > 0)
        if not decodes and not chunks:
            continue
        step_s = costs.step_s(decodes, context, [(prefill, 0)] * chunks, decodes + chunks)
        step_s += noise_s * math.cos(number)
        steps.append(StepObservation(decodes, context, chunks, prefill, step_s))
    return steps


def test_known_terms_are_recovered() -> None:
    costs = MeasuredSteps(0.015, 2e-4, 3e-7, 1e-3, 4e-5)
    found = fit(observed(costs))
    for term in TERMS:
        assert getattr(found.costs, term) == pytest.approx(getattr(costs, term), rel=1e-6)
    assert found.residual_s == pytest.approx(0.0, abs=1e-9)
    for step in observed(costs):
        assert found.costs.expected_s(step) == pytest.approx(step.step_s)
    assert found.num_steps == len(observed(costs))


def test_the_residual_tells_the_noise() -> None:
    found = fit(observed(MeasuredSteps(0.015, 2e-4, 3e-7, 1e-3, 4e-5), noise_s=0.002))
    assert found.residual_s == pytest.approx(0.002 / math.sqrt(2), rel=0.1)
    assert found.mean_error == pytest.approx(0.002 * 2 / math.pi / found.mean_step_s, rel=0.1)


def test_a_term_that_would_be_negative_is_left_out() -> None:
    """More decodes in less time: the best costs that are not negative ignore them."""
    steps = [StepObservation(n, 0, 0, 0, 0.02 - n * 1e-4) for n in range(1, 20)]
    found = fit(steps)
    assert found.costs.decode_s == 0.0
    assert found.costs.fixed_s == pytest.approx(0.02 - 10e-4)


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="4 steps"):
        fit([StepObservation(1, 10, 0, 0, 0.02)] * 4)


@given(observations)
def test_no_term_is_negative_and_none_explains_less_than_nothing(
    steps: list[StepObservation],
) -> None:
    found = fit(steps)
    assert all(getattr(found.costs, term) >= 0.0 for term in TERMS)
    unexplained_s = math.sqrt(sum(step.step_s**2 for step in steps) / len(steps))
    assert found.residual_s <= unexplained_s * (1 + 1e-9)


@given(
    observations,
    counts,
    st.integers(0, 20_000),
    st.lists(st.tuples(st.integers(1, 512), st.just(0)), max_size=8),
    st.sampled_from(["decode", "context", "chunk", "token"]),
)
def test_more_work_is_never_cheaper(
    steps: list[StepObservation],
    decodes: int,
    context: int,
    prefills: list[tuple[int, int]],
    more: str,
) -> None:
    costs = fit(steps).costs
    before_s = costs.step_s(decodes, context, prefills, decodes)
    after_s = costs.step_s(
        decodes + (more == "decode"),
        context + 100 * (more == "context"),
        prefills + [(7, 0)] * (more == "chunk") if more != "token" else _one_longer(prefills),
        decodes,
    )
    assert after_s >= before_s >= 0.0


def _one_longer(prefills: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(tokens + 1, past) for tokens, past in prefills]


def test_a_simulation_takes_the_costs_it_is_given() -> None:
    """One request alone: a step for its prompt, then one a token."""
    costs = MeasuredSteps(
        fixed_s=0.5, decode_s=0.25, context_token_s=0.0, chunk_s=0.0, prefill_token_s=0.01
    )
    result = simulate(
        [SimRequest("r0", 1.0, prompt_tokens=50, output_tokens=5)],
        slo_classes_of(PAPER_MIX),
        Deployment(known_model("Qwen2.5-7B"), hardware("h200")),
        policy_named("stock"),
        costs=costs,
    )
    [record] = result.records
    assert record.ttft_s == pytest.approx(0.5 + 50 * 0.01)
    assert record.tbt_s == pytest.approx(0.5 + 0.25)


# --- errors -----------------------------------------------------------------------------------


def summary(ttft_s: tuple[float, ...], good: int) -> Summary:
    return Summary(
        requests=10,
        failed=0,
        good_ttft=good,
        good_tbt=10,
        good_joint=good,
        gaps=90,
        good_gaps=90,
        input_tokens=100,
        output_tokens=100,
        ttft_s=describe(ttft_s),
        tbt_s=describe([0.02]),
        gap_s=describe([0.02]),
        e2e_s=describe([1.0]),
    )


def test_latencies_differ_relatively_and_shares_by_points() -> None:
    found = compare(summary((1.0, 1.0), good=5), 100.0, summary((1.5, 1.5), good=8), 80.0)
    assert found["mean_ttft_s"].error == pytest.approx(0.5)
    assert found["p90_ttft_s"].error == pytest.approx(0.5)
    assert found["output_tokens_per_s"].error == pytest.approx(-0.2)
    assert found["ttft_attainment"].error == pytest.approx(0.3)
    assert found["tbt_attainment"].error == 0.0
    assert found["mean_tbt_s"].error == 0.0


def test_a_figure_without_a_sample_is_left_out() -> None:
    found = compare(replace(summary((1.0,), 5), tbt_s=None), 1.0, summary((1.0,), 5), 1.0)
    assert "mean_tbt_s" not in found
    assert "mean_ttft_s" in found


def test_errors_over_runs_count_both_signs() -> None:
    runs = [{"x": Comparison(1.0, 1.0 + error)} for error in (0.1, -0.3, 0.2)]
    spread = spreads(runs)["x"]
    assert spread.mean == pytest.approx(0.2)
    assert spread.p90 == pytest.approx(0.28)
    assert spread.bias == pytest.approx(0.0)


def test_nothing_real_gives_no_finite_relative_error() -> None:
    assert Comparison(0.0, 1.0).error == math.inf
    assert Comparison(0.0, 0.0).error == 0.0
    assert Comparison(0.0, 0.4, is_share=True).error == 0.4
