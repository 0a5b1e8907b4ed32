"""The offline bound: no policy beats it, it is lost on nobody at light load, and it tightens."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_machine import (
    AMPLE_BLOCKS,
    BATCH,
    CHAT,
    HARDWARE,
    MIN_BLOCKS,
    MODEL,
    FamilyText,
    deployment,
    deployments,
    policies,
    workloads,
)
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.machine.step_time import StepTimes
from superinfer_runtime.sim.offline_bound import joint_bound, joint_bounds_by_class
from superinfer_runtime.sim.policies import POLICIES, Policy
from superinfer_runtime.sim.report.summary import summarize
from superinfer_runtime.sim.request import NextTurn, SimRequest
from superinfer_runtime.sim.simulation import simulate
from superinfer_runtime.sim.stock_scheduler import EngineLimits

pytestmark = pytest.mark.slow

CLASSES = (CHAT, BATCH)
Workload = tuple[SimRequest, ...]
single_turns = workloads(sessions=False, max_size=25)
targets = st.builds(
    lambda ttft_s, tbt_s: (
        CHAT.model_copy(update={"ttft_s": ttft_s, "tbt_s": tbt_s}),
        BATCH,
    ),
    st.sampled_from([0.01, 0.02, 0.05, 0.2]),
    st.sampled_from([0.0025, 0.003, 0.005, 0.01]),
)


@settings(max_examples=150)
@given(single_turns, targets, deployments, policies)
def test_no_policy_beats_it(
    requests: Workload, classes: tuple[SloClass, ...], served_by: Deployment, policy: Policy
) -> None:
    summary = summarize(simulate(requests, classes, served_by, policy))
    assert summary.total.joint_attainment <= joint_bound(requests, classes, served_by)
    by_class = joint_bounds_by_class(requests, classes, served_by)
    assert by_class.keys() == summary.classes.keys()
    for name, judged in summary.classes.items():
        assert not judged.requests or judged.joint_attainment <= by_class[name]


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), max_size=4),
    st.integers(0, 60),
)
def test_a_step_takes_what_the_bound_relies_on(
    num_decodes: int, prefills: list[tuple[int, int]], context: int
) -> None:
    """Products or weights, whichever take longer, and reading the KV of decodes and chunks."""
    times = StepTimes(MODEL, HARDWARE)
    new_tokens = sum(chunk for chunk, _ in prefills)
    num_sampled = num_decodes + len(prefills)
    step_s = times.step_s(num_decodes, num_decodes * context, prefills, num_sampled)
    read = num_decodes * context + sum(past for _, past in prefills)
    head_s = times.min_decode_token_s - times.min_prefill_token_s
    products_s = (num_decodes + new_tokens) * times.min_prefill_token_s + num_sampled * head_s
    if num_decodes or prefills:
        least_s = max(products_s, times.min_weights_step_s) + read * times.kv_read_s_per_token
        assert step_s >= least_s


@given(single_turns, targets, st.integers(MIN_BLOCKS, 60), st.integers(1, 200))
def test_more_memory_never_lowers_it(
    requests: Workload, classes: tuple[SloClass, ...], blocks: int, more: int
) -> None:
    bounds = [joint_bound(requests, classes, deployment(n)) for n in (blocks, blocks + more)]
    assert bounds[0] <= bounds[1]


@given(single_turns, targets, st.floats(1.0, 4.0), st.floats(1.0, 4.0), st.integers(1, 3))
def test_a_faster_machine_or_more_of_them_never_lower_it(
    requests: Workload,
    classes: tuple[SloClass, ...],
    compute: float,
    bandwidth: float,
    replicas: int,
) -> None:
    faster = replace(
        HARDWARE,
        peak_flops=compute * HARDWARE.peak_flops,
        hbm_bytes_per_s=bandwidth * HARDWARE.hbm_bytes_per_s,
    )
    base = joint_bound(requests, classes, deployment(20))
    assert joint_bound(requests, classes, deployment(20, hardware=faster)) >= base
    assert joint_bound(requests, classes, deployment(20, replicas=replicas)) >= base


def burst(size: int, gap_s: float, **fields: object) -> Workload:
    return tuple(SimRequest(f"r{n}", n * gap_s, 20, 20, **fields) for n in range(size))  # type: ignore[arg-type]


def test_at_light_load_everybody_can_be_good() -> None:
    requests = burst(20, 0.2)
    served_by = deployment()
    assert joint_bound(requests, CLASSES, served_by) == 1.0
    summary = summarize(simulate(requests, CLASSES, served_by, POLICIES["stock"]))
    assert summary.total.joint_attainment == 1.0


def test_in_a_burst_of_prompts_it_comes_close_to_what_stock_attains() -> None:
    """Equal prompts one after the other leave nothing to choose: there the bound hides little."""
    requests = tuple(SimRequest(f"r{n}", 0.0, 40, 1) for n in range(60))
    classes = (CHAT.model_copy(update={"ttft_s": 0.2}),)
    served_by = deployment(limits=EngineLimits(4, max_num_batched_tokens=40, max_model_len=64))
    attained = summarize(simulate(requests, classes, served_by, POLICIES["stock"]))
    bound = joint_bound(requests, classes, served_by)
    assert 0.1 < attained.total.joint_attainment <= bound < 0.9
    assert bound < 1.5 * attained.total.joint_attainment


def test_a_target_that_one_step_misses_is_for_nobody() -> None:
    weights_s = StepTimes(MODEL, HARDWARE).min_weights_step_s
    for missed in ({"ttft_s": 0.9 * weights_s}, {"tbt_s": 0.9 * weights_s}):
        assert joint_bound(burst(3, 1.0), (CHAT.model_copy(update=missed),), deployment()) == 0.0


def test_little_memory_shows_where_weights_are_read_for_few() -> None:
    requests = burst(300, 0.004, slo_class="batch")
    tight, ample = (
        joint_bound(requests, CLASSES, deployment(n)) for n in (MIN_BLOCKS, AMPLE_BLOCKS)
    )
    assert tight < 0.8 * ample


def test_what_others_have_too_counts_as_cached() -> None:
    requests = burst(30, 0.0, content=FamilyText(0))
    alone = tuple(replace(r, content=FamilyText(n)) for n, r in enumerate(requests))
    off = deployment(limits=EngineLimits(4, max_model_len=64, prefix_caching=False))
    without = joint_bound(requests, CLASSES, off)
    assert joint_bound(alone, CLASSES, deployment()) == without
    assert joint_bound(requests, CLASSES, deployment()) > without


def test_each_class_is_bound_as_if_alone() -> None:
    requests = tuple(
        replace(request, slo_class=name)
        for request, name in zip(burst(400, 0.0), ["chat", "batch"] * 200, strict=True)
    )
    bounds = joint_bounds_by_class(requests, CLASSES, deployment())
    for name, bound in bounds.items():
        own = [request for request in requests if request.slo_class == name]
        assert bound == joint_bound(own, CLASSES, deployment())
    assert bounds["chat"] < 1.0
    assert joint_bound(requests, CLASSES, deployment()) < sum(bounds.values()) / 2
    assert joint_bounds_by_class(requests[::2], CLASSES, deployment())["batch"] == 1.0


def test_a_request_of_no_class_is_judged_by_the_default_one() -> None:
    requests = burst(40, 0.0, slo_class="unheard-of")
    chat = burst(40, 0.0, slo_class="chat")
    assert joint_bound(requests, CLASSES, deployment()) == joint_bound(chat, CLASSES, deployment())


def test_sessions_are_refused() -> None:
    first = SimRequest("a", 0.0, 4, 4, next_turn=NextTurn(1.0, SimRequest("b", 0.0, 12, 4)))
    with pytest.raises(ValueError, match="sessions have no bound"):
        joint_bound([first], CLASSES, deployment())


def test_no_requests_are_all_good() -> None:
    assert joint_bound([], CLASSES, deployment()) == 1.0


@pytest.mark.parametrize("rate", [4.0, 8.0])
def test_a_gh200_is_bound_by_its_speed_in_a_long_overload(rate: float) -> None:
    """Equal requests leave nothing to choose: the bound is the machine's capacity."""
    served_by = Deployment(known_model("Qwen2.5-32B"), hardware("gh200-144-480"))
    times = StepTimes(served_by.model, served_by.hardware)
    prompt, answer = 4000, 400
    requests = [SimRequest(f"r{n}", n / rate, prompt, answer) for n in range(int(600 * rate))]
    classes = (SloClass(name="default", ttft_s=5.0, tbt_s=0.05, default=True),)
    work_s = prompt * times.min_prefill_token_s + answer * times.min_decode_token_s
    work_s += (prompt + answer / 2) * answer * times.kv_read_s_per_token
    capacity = 1 / (rate * work_s)
    bound = joint_bound(requests, classes, served_by)
    assert capacity <= bound <= capacity * (1 + 30 / 600)
