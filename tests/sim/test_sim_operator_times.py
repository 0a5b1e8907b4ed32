"""The committed constants describe the measured operators, and the formulas behave."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_runtime.sim.machine.operator_times import (
    Chip,
    all_reduce_s,
    decode_attention_s,
    experts_touched,
    gemm_s,
    moe_s,
    prefill_attention_s,
)

ROOT = Path(__file__).parents[2]
H200 = Chip(989e12, 4.8e12)
SIZES = st.integers(512, 65536)


def load_tables() -> ModuleType:
    script = ROOT / "tools" / "calibration" / "operator_tables.py"
    spec = importlib.util.spec_from_file_location("operator_tables", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def h200_tables() -> Path:
    default = ROOT.parent / "shared" / "calibration"
    path = Path(os.environ.get("SUPERINFER_CALIBRATION", default)) / "h200"
    if not path.is_dir():
        pytest.skip(f"no operator tables at {path}: set SUPERINFER_CALIBRATION to their folder")
    return path


@pytest.mark.parametrize(
    ("table", "mean", "median", "p90"),
    [
        ("gemm_table", 0.065, 0.05, 0.13),
        ("decode_attention_table", 0.05, 0.03, 0.13),
        ("prefill_attention_table", 0.075, 0.065, 0.155),
    ],
)
def test_committed_constants_describe_shapes_that_no_fit_saw(
    h200_tables: Path, table: str, mean: float, median: float, p90: float
) -> None:
    measured = getattr(load_tables(), table)(h200_tables)
    errors = np.abs(measured.errors(measured.committed)[measured.held_out])
    assert len(errors) > 500
    assert errors.mean() <= mean
    assert np.median(errors) <= median
    assert np.percentile(errors, 90) <= p90


def test_committed_constants_describe_the_published_expert_layers() -> None:
    measured = load_tables().moe_table(Path())
    errors = np.abs(measured.errors(measured.committed))
    assert errors.mean() <= 0.05
    assert errors.max() <= 0.2


@given(SIZES, SIZES, SIZES, st.integers(1, 1000))
def test_a_product_is_never_faster_than_the_chip(m: int, n: int, k: int, more: int) -> None:
    time_s = gemm_s(m, n, k, H200)
    assert time_s > 2 * m * n * k / H200.peak_flops
    assert time_s > 2 * (m * k + k * n + m * n) / H200.bytes_per_s
    assert gemm_s(m + more, n, k, H200) >= time_s


@given(st.integers(1, 2048), st.integers(1, 100_000), st.sampled_from([1, 2, 4, 8]))
def test_decode_attention_reads_all_of_the_kv(num_seqs: int, context: int, kv_heads: int) -> None:
    kv_bytes = num_seqs * context * kv_heads * 512
    time_s = decode_attention_s(num_seqs, kv_bytes, kv_heads, H200)
    assert time_s > kv_bytes / H200.bytes_per_s
    assert time_s < decode_attention_s(num_seqs, kv_bytes * 2, kv_heads, H200)


@given(st.integers(1, 16384), st.integers(0, 100_000), st.integers(2, 8))
def test_chunks_of_a_prompt_have_the_pairs_of_the_whole(chunk: int, past: int, shards: int) -> None:
    def time_s(new: int, before: int) -> float:
        pairs = new * (before + new / 2)
        return float(prefill_attention_s(pairs, new, new, 40, 8, 128, H200))

    assert time_s(chunk, past + 1) > time_s(chunk, past)
    whole = time_s(shards * chunk, past)
    assert sum(time_s(chunk, past + n * chunk) for n in range(shards)) > whole


@given(st.integers(1, 10_000))
def test_experts_are_touched_up_to_all_of_them(num_tokens: int) -> None:
    touched = experts_touched(num_tokens, 128, 8)
    assert 8 * (1 - 1e-9) <= touched <= 128
    assert experts_touched(num_tokens + 1, 128, 8) >= touched
    assert moe_s(num_tokens + 1, 128, 8, 2048, 768, H200) > moe_s(
        num_tokens, 128, 8, 2048, 768, H200
    )


def test_summing_over_gpus_moves_almost_twice_the_bytes() -> None:
    assert all_reduce_s(1e9, 8, 1e9, 0.5) == pytest.approx(0.5 + 1.75)
