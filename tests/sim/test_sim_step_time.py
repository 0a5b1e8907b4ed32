"""Step times: against measured steps, against composed examples, and their own lower bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.machine.step_time import StepTimes, kv_capacity_blocks

QWEN_32B = StepTimes(known_model("Qwen2.5-32B"), hardware("gh200-144-480"))
MODELS = [
    QWEN_32B,
    StepTimes(known_model("Llama-3.1-8B"), hardware("gh200-96-480")),
    StepTimes(known_model("Qwen3-30B-A3B"), hardware("h200"), tensor_parallel=2),
]
PREFILLS = st.lists(st.tuples(st.integers(1, 4096), st.integers(0, 20_000)), max_size=4)


@pytest.mark.parametrize(
    ("model", "context", "measured_ms"),
    [
        # Steps without copies beside them on an H200, docs/benchmarks.md "Decoding beside
        # rotation": 64 requests that began with 512 tokens; the ways to copy were tried one after
        # the other, 430 steps each, so the context in the middle of each is known to some tokens.
        ("Qwen2.5-7B", 735, 5.68),
        ("Qwen2.5-7B", 1165, 6.37),
        ("Qwen2.5-32B", 735, 22.54),
        ("Qwen2.5-32B", 1165, 24.24),
        ("Qwen2.5-32B", 1595, 25.89),
        ("Qwen2.5-32B", 2025, 27.52),
    ],
)
def test_decode_steps_measured_on_an_h200(model: str, context: int, measured_ms: float) -> None:
    times = StepTimes(known_model(model), hardware("h200"))
    step_ms = times.step_s(64, 64 * context, [], 64) * 1e3
    assert step_ms == pytest.approx(measured_ms, rel=0.08)


@pytest.mark.parametrize(
    ("model", "machine", "composed_ms"),
    [
        ("Llama-3.1-8B", "gh200-96-480", (5.5, 8.4, 18.0, 21.8, 42.9, 187, 27.7)),
        ("Llama-3.1-8B", "gh200-144-480", (4.7, 7.1, 15.6, 21.3, 42.1, 184, 25.5)),
        ("Qwen2.5-32B", "gh200-96-480", (21.0, 27.0, 49.1, 89.5, 178, 755, 89.6)),
        ("Qwen2.5-32B", "gh200-144-480", (17.6, 22.5, 43.3, 88.3, 176, 746, 85.0)),
    ],
)
def test_steps_agree_with_an_independent_composition(
    model: str, machine: str, composed_ms: tuple[float, ...]
) -> None:
    """Decodes of 1, 64 and 256 requests with 1k tokens, prompts of 1k, 2k and 8k, and a mix."""
    times = StepTimes(known_model(model), hardware(machine))
    steps_s = (
        *(times.step_s(batch, 1024 * batch, [], batch) for batch in (1, 64, 256)),
        *(times.prefill_s(tokens) for tokens in (1024, 2048, 8192)),
        times.step_s(256, 256 * 1024, [(512, 0)], 257),
    )
    for step_s, wanted_ms in zip(steps_s, composed_ms, strict=True):
        assert step_s * 1e3 == pytest.approx(wanted_ms, rel=0.06)


@pytest.mark.parametrize(
    ("model", "machine", "tokens"),
    [
        ("Qwen2.5-32B", "gh200-96-480", 72_000),
        ("Qwen2.5-32B", "gh200-144-480", 237_000),
        ("Llama-3.1-8B", "gh200-96-480", 521_000),
        ("Qwen2.5-14B", "gh200-144-480", 498_000),
        ("Mixtral-8x7B", "gh200-144-480", 261_000),
        ("Mixtral-8x7B", "gh200-96-480", 0),
        ("Llama-3.1-70B", "gh200-144-480", 0),
    ],
)
def test_room_for_kv(model: str, machine: str, tokens: int) -> None:
    blocks = kv_capacity_blocks(known_model(model), hardware(machine))
    assert blocks * 16 == pytest.approx(tokens, rel=5e-3)


def test_room_for_kv_is_what_vllm_found_on_an_h200() -> None:
    blocks = kv_capacity_blocks(known_model("Qwen2.5-32B"), hardware("h200"), utilization=0.92)
    assert blocks * 16 == pytest.approx(269_000, rel=0.02)


def test_several_gpus_share_the_weights_and_add_their_room() -> None:
    model, machine = known_model("Llama-3.1-70B"), hardware("h100")
    assert kv_capacity_blocks(model, machine, 2, utilization=0.8) == 0
    assert kv_capacity_blocks(model, machine, 4) > 1.5 * kv_capacity_blocks(model, machine, 3) > 0
    one, four = (StepTimes(known_model("Qwen2.5-32B"), hardware("h200"), n) for n in (1, 4))
    for prefills in ([], [(2048, 0)]):
        fast_s, slow_s = (times.step_s(64, 64_000, prefills, 64) for times in (four, one))
        assert slow_s / 4 < fast_s < slow_s
    with pytest.raises(ValueError, match="gh200-96-480 has 1 GPUs"):
        StepTimes(model, hardware("gh200-96-480"), tensor_parallel=2)


@given(
    st.sampled_from(MODELS),
    st.integers(0, 512),
    st.integers(0, 2000),
    PREFILLS,
    st.integers(0, 512),
)
def test_no_step_beats_the_lower_bounds(
    times: StepTimes,
    num_decodes: int,
    context: int,
    prefills: list[tuple[int, int]],
    num_sampled: int,
) -> None:
    tokens = num_decodes + sum(chunk for chunk, _ in prefills)
    step_s = times.step_s(num_decodes, num_decodes * context, prefills, num_sampled)
    if not tokens:
        assert step_s == 0.0
        return
    read_s = num_decodes * context * times.kv_read_s_per_token
    sampled = min(num_sampled, tokens)
    products_s = sampled * times.min_decode_token_s + (tokens - sampled) * times.min_prefill_token_s
    assert step_s > times.min_weights_step_s + read_s
    assert step_s > products_s + read_s


@given(st.sampled_from(MODELS), st.integers(1, 512), st.integers(1, 2000), PREFILLS)
def test_more_work_takes_longer(
    times: StepTimes, num_decodes: int, context: int, prefills: list[tuple[int, int]]
) -> None:
    def step_s(decodes: int, tokens: int, chunks: list[tuple[int, int]]) -> float:
        return times.step_s(decodes, tokens, chunks, decodes)

    tokens = num_decodes * context
    base_s = step_s(num_decodes, tokens, prefills)
    assert step_s(num_decodes, tokens + 1, prefills) > base_s
    assert step_s(num_decodes + 1, tokens, prefills) > base_s
    assert step_s(num_decodes, tokens, [*prefills, (64, 0)]) > base_s
    assert step_s(num_decodes, tokens, [*prefills, (64, 9000)]) > step_s(
        num_decodes, tokens, [*prefills, (64, 0)]
    )


def test_cutting_a_prompt_into_chunks_costs_time() -> None:
    whole_s = QWEN_32B.prefill_s(4096)
    chunks_s = [QWEN_32B.step_s(0, 0, [(512, 512 * n)], 0) for n in range(8)]
    assert whole_s < sum(chunks_s) < 1.25 * whole_s
    assert chunks_s == sorted(chunks_s)


def test_bandwidth_speeds_up_decoding_and_compute_prefill() -> None:
    slow = hardware("gh200-96-480")
    times = StepTimes(QWEN_32B.model, slow)
    wide = StepTimes(QWEN_32B.model, replace(slow, hbm_bytes_per_s=8e12))
    strong = StepTimes(QWEN_32B.model, replace(slow, peak_flops=2 * slow.peak_flops))
    decode = (64, 64_000, [], 64)
    assert wide.step_s(*decode) < 0.6 * times.step_s(*decode)
    assert strong.step_s(*decode) > 0.95 * times.step_s(*decode)
    assert strong.prefill_s(4096) < 0.6 * times.prefill_s(4096)
    assert wide.prefill_s(4096) > 0.9 * times.prefill_s(4096)


def test_the_cpu_takes_a_time_a_step_and_a_time_a_request() -> None:
    machine = hardware("h200")
    assert QWEN_32B.cpu_s(0) > StepTimes(QWEN_32B.model, machine).cpu_s(0)
    steps = [StepTimes(QWEN_32B.model, machine).cpu_s(count) for count in (0, 100, 200)]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0])
    assert steps[1] - steps[0] == pytest.approx(100 * machine.cpu_request_s)
