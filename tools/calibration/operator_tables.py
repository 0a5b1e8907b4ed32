"""Measured operator times, each with the formula that is to describe it.

A table's shapes are split by a hash of the shape: one in five is held out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from superinfer_runtime.sim.machine.operator_times import (
    DECODE_ATTENTION,
    GEMM,
    MOE,
    PREFILL_ATTENTION,
    Chip,
    decode_attention_s,
    gemm_s,
    moe_s,
    prefill_attention_s,
)

H200 = Chip(peak_flops=989e12, bytes_per_s=4.8e12)
H100 = Chip(peak_flops=989e12, bytes_per_s=3.35e12)
L2_BYTES = 50e6

# (tokens, microseconds) of vLLM's fused MoE kernel with tuned tiles, bfloat16.
# H200, 128 experts of 704, hidden 2816, 8 a token: vLLM pull request 44818. Below 16 tokens the
# figures there do not change with the number of experts read, so they time the host.
MOE_H200 = (
    (16, 264.1), (24, 314.4), (32, 324.9), (48, 365.5), (64, 384.1), (96, 390.3), (128, 396.4),
    (256, 419.6), (512, 442.3), (1024, 528.4), (1536, 582.0), (2048, 728.2), (3072, 962.9),
    (4096, 1189.6),
)  # fmt: skip
# H100, Mixtral-8x7B on one of two GPUs (8 experts of 7168, hidden 4096, 2 a token): vLLM pull
# request 24700.
MOE_H100 = (
    (1, 144.03), (2, 229.28), (4, 351.10), (8, 434.98), (16, 471.49), (24, 478.27), (32, 487.35),
    (48, 487.85), (64, 483.14), (96, 494.42), (128, 491.39), (256, 536.77), (512, 662.33),
    (1024, 833.72), (1536, 1122.93),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OperatorTable:
    """Rows of one operator."""

    name: str
    committed: Any
    """The constants in use."""
    predict: Callable[[Any], Any]
    """From constants to seconds of all rows."""
    measured_s: Any
    held_out: Any
    """Mask of the rows that no fit may see."""

    def errors(self, constants: Any) -> Any:
        """Relative error of each row; positive: the formula is too slow."""
        return self.predict(constants) / self.measured_s - 1.0


def gemm_table(folder: Path) -> OperatorTable:
    """Matrices with both sides of at least 512: those of models, sharded ones among them."""
    rows = _read(folder / "gemm_perf.parquet", gemm_dtype="bfloat16")
    m, n, k = rows["m"], rows["n"], rows["k"]
    keep = (n >= 512) & (k >= 512)
    m, n, k = m[keep], n[keep], k[keep]
    return OperatorTable(
        "GEMM",
        GEMM,
        lambda constants: gemm_s(m, n, k, H200, constants=constants),
        rows["latency"][keep] / 1e3,
        _one_in_five(n, k),
    )


def decode_attention_table(folder: Path) -> OperatorTable:
    """Heads of 128. Without rows whose KV stays in the L2 cache from run to run.

    In a model the weights of a whole layer pass through the cache between two reads.
    """
    rows = _attention(folder / "generation_attention_perf.parquet")
    context = rows["step"] + 1.0
    batch, heads, kv_heads = (rows[c] for c in ("batch_size", "num_heads", "num_key_value_heads"))
    kv_bytes = 4.0 * kv_heads * 128 * batch * context
    keep = (kv_bytes < 2e6) | (kv_bytes > L2_BYTES)
    batch, kv_heads, kv_bytes = batch[keep], kv_heads[keep], kv_bytes[keep]
    return OperatorTable(
        "decode attention",
        DECODE_ATTENTION,
        lambda constants: decode_attention_s(batch, kv_bytes, kv_heads, H200, constants),
        rows["latency"][keep] / 1e3,
        _one_in_five(heads[keep], kv_heads, context[keep]),
    )


def prefill_attention_table(folder: Path) -> OperatorTable:
    """Heads of 128, prompts of 16 tokens and more, nothing before them."""
    rows = _attention(folder / "context_attention_perf.parquet")
    keep = rows["isl"] >= 16
    batch, length, heads, kv_heads = (
        rows[c][keep] for c in ("batch_size", "isl", "num_heads", "num_key_value_heads")
    )

    def predict(constants: Any) -> Any:
        return prefill_attention_s(
            batch * length * length / 2.0,
            batch * length,
            length,
            heads,
            kv_heads,
            128,
            H200,
            constants,
        )

    return OperatorTable(
        "prefill attention",
        PREFILL_ATTENTION,
        predict,
        rows["latency"][keep] / 1e3,
        _one_in_five(heads, kv_heads, length),
    )


def moe_table(folder: Path) -> OperatorTable:
    """Published times of two shapes; too few to hold any out."""
    h200, h100 = np.array(MOE_H200), np.array(MOE_H100)

    def predict(constants: Any) -> Any:
        return np.concatenate(
            [
                moe_s(h200[:, 0], 128, 8, 2816, 704, H200, constants=constants),
                moe_s(h100[:, 0], 8, 2, 4096, 7168, H100, constants=constants),
            ]
        )

    measured_s = np.concatenate([h200[:, 1], h100[:, 1]]) / 1e6
    return OperatorTable("MoE", MOE, predict, measured_s, np.zeros(len(measured_s), bool))


TABLES = (gemm_table, decode_attention_table, prefill_attention_table, moe_table)


def _attention(path: Path) -> dict[str, Any]:
    rows = _read(
        path, attn_dtype="bfloat16", kv_cache_dtype="bfloat16", window_size=0, head_dim=128
    )
    keep = (rows["num_key_value_heads"] <= 8) & (rows["num_heads"] <= 64)
    return {name: values[keep] for name, values in rows.items()}


def _read(path: Path, **equal: str | int) -> dict[str, Any]:
    """Return the numeric columns of the rows in which these columns have these values."""
    table = pq.read_table(path, filters=[(name, "=", value) for name, value in equal.items()])
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    return {
        name: values.astype(float)
        for name, values in columns.items()
        if np.issubdtype(values.dtype, np.number)
    }


def _one_in_five(*shape: Any) -> Any:
    """Mask of the shapes held out: all rows of a shape are on the same side."""
    mixed = np.zeros(len(shape[0]), np.int64)
    for weight, column in zip((7919, 104729, 1299709), shape, strict=False):
        mixed += weight * column.astype(np.int64)
    return (mixed // 7) % 5 == 0
