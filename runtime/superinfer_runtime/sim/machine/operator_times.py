"""How long one operator takes on a Hopper GPU, in bfloat16: formulas of a roofline's kind.

Each formula is a roofline with soft corners (the power mean of compute and memory time) plus what
launching costs; its constants are fitted to measured H200 times, and scale with a chip's peak rate
and memory bandwidth. `tools/calibration/fit_operators.py` refits them and prints their errors. The
formulas are plain arithmetic: they take numbers or arrays alike. Times are seconds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Chip:
    """What the formulas ask of a GPU."""

    peak_flops: float
    """Dense bfloat16, a second."""
    bytes_per_s: float
    """Nominal bandwidth of its memory."""


@dataclass(frozen=True, slots=True)
class GemmConstants:
    compute_efficiency: float
    bandwidth_efficiency: float
    sharpness: float
    """Exponent of the power mean: the larger, the sharper the roofline's corner."""
    write_share: float
    """Part of the output's write that no computing hides."""
    fixed_s: float
    s_per_k: float
    """Filling the pipeline along the inner dimension, up to ``pipeline_k``."""
    pipeline_k: float
    throttled_share: float
    """Compute rate lost at ``m`` of 8192 and more, where the chip lowers its clock."""


@dataclass(frozen=True, slots=True)
class DecodeAttentionConstants:
    fixed_s: float
    s_per_head: float
    """One (sequence, KV head), however short its context."""
    bandwidth_efficiency: float
    sharpness: float
    memory_latency_s: float
    """Added once the KV read is much larger than ``cached_bytes``."""
    cached_bytes: float


@dataclass(frozen=True, slots=True)
class PrefillAttentionConstants:
    fixed_s: float
    compute_efficiency: float
    s_per_element: float
    """An element of a new token's query or output; of its key and value, times ``kv_weight``."""
    kv_weight: float
    serial_s_per_token: float
    """What one tile of the longest prompt takes, however many SMs are idle."""
    sharpness: float


@dataclass(frozen=True, slots=True)
class MoeConstants:
    compute_efficiency: float
    bandwidth_efficiency: float
    sharpness: float
    fixed_s: float
    """Routing, sorting, two grouped GEMMs and the sum."""


# Fitted to the H200 tables of aiconfigurator 095f58a5 (vLLM 0.24, bfloat16), four fifths of the
# shapes; errors on the other fifth are in docs/concepts/cost-model.md.
GEMM = GemmConstants(
    compute_efficiency=0.839,
    bandwidth_efficiency=0.873,
    sharpness=3.66,
    write_share=0.674,
    fixed_s=2.56e-6,
    s_per_k=6.78e-10,
    pipeline_k=3790.0,
    throttled_share=0.0473,
)
DECODE_ATTENTION = DecodeAttentionConstants(
    fixed_s=1.13e-5,
    s_per_head=2.54e-8,
    bandwidth_efficiency=0.938,
    sharpness=1.4,
    memory_latency_s=7.53e-6,
    cached_bytes=2.54e7,
)
PREFILL_ATTENTION = PrefillAttentionConstants(
    fixed_s=1.24e-5,
    compute_efficiency=0.688,
    s_per_element=2.25e-12,
    kv_weight=3.0,
    serial_s_per_token=9.42e-9,
    sharpness=2.64,
)
# Fitted to published times of vLLM's fused MoE kernel: on an H200 (vLLM pull request 44818) and an
# H100 (pull request 24700), two shapes, none held out.
MOE = MoeConstants(
    compute_efficiency=0.624,
    bandwidth_efficiency=0.933,
    sharpness=1.44,
    fixed_s=3.18e-5,
)


def gemm_s(
    m: Any, n: Any, k: Any, chip: Chip, dtype_bytes: int = 2, constants: GemmConstants = GEMM
) -> Any:
    """Return the time of ``[m, k] x [k, n]``."""
    c = constants
    throttled = c.throttled_share * np.clip((m - 4096.0) / 4096.0, 0.0, 1.0)
    compute_s = 2.0 * m * n * k / (c.compute_efficiency * (1.0 - throttled) * chip.peak_flops)
    num_bytes = dtype_bytes * (m * k + k * n + m * n)
    memory_s = num_bytes / (c.bandwidth_efficiency * chip.bytes_per_s)
    write_s = dtype_bytes * m * n / chip.bytes_per_s
    fill_s = c.fixed_s + c.s_per_k * np.minimum(k, c.pipeline_k)
    return _soft_max(compute_s, memory_s, c.sharpness) + c.write_share * write_s + fill_s


def decode_attention_s(
    num_seqs: Any,
    kv_bytes: Any,
    kv_heads: Any,
    chip: Chip,
    constants: DecodeAttentionConstants = DECODE_ATTENTION,
) -> Any:
    """Return the time of one layer's attention of one new token a sequence.

    Args:
        num_seqs: sequences.
        kv_bytes: keys and values of all their contexts in this layer.
        kv_heads: KV heads on this GPU.
        chip: the GPU.
        constants: fitted constants.
    """
    c = constants
    read_s = kv_bytes / (c.bandwidth_efficiency * chip.bytes_per_s)
    busy_s = _soft_max(c.s_per_head * num_seqs * kv_heads, read_s, c.sharpness)
    return c.fixed_s + busy_s + c.memory_latency_s * kv_bytes / (kv_bytes + c.cached_bytes)


def prefill_attention_s(
    pairs: Any,
    new_tokens: Any,
    longest: Any,
    heads: Any,
    kv_heads: Any,
    head_dim: Any,
    chip: Chip,
    constants: PrefillAttentionConstants = PREFILL_ATTENTION,
) -> Any:
    """Return the time of one layer's causal attention of the chunks of a step.

    Args:
        pairs: (query, key) pairs that are not masked, of all chunks: a chunk of s tokens after p
            others has ``s x (p + s / 2)``.
        new_tokens: tokens of all chunks.
        longest: tokens of the longest chunk.
        heads: query heads on this GPU.
        kv_heads: KV heads on this GPU.
        head_dim: size of a head.
        chip: the GPU.
        constants: fitted constants.
    """
    c = constants
    compute_s = 4.0 * pairs * heads * head_dim / (c.compute_efficiency * chip.peak_flops)
    elements = new_tokens * head_dim * (heads + c.kv_weight * kv_heads)
    busy_s = compute_s + c.s_per_element * elements
    return c.fixed_s + _soft_max(busy_s, c.serial_s_per_token * longest, c.sharpness)


def moe_s(
    num_tokens: Any,
    experts: Any,
    experts_per_token: Any,
    hidden: Any,
    intermediate: Any,
    chip: Chip,
    dtype_bytes: int = 2,
    constants: MoeConstants = MOE,
) -> Any:
    """Return the time of one layer of gated experts, tokens spread over them evenly at random."""
    c = constants
    weights = 3.0 * hidden * intermediate
    touched = experts_touched(num_tokens, experts, experts_per_token)
    rows = num_tokens * experts_per_token
    bytes_per_s = c.bandwidth_efficiency * chip.bytes_per_s
    compute_s = 2.0 * weights * rows / (c.compute_efficiency * chip.peak_flops)
    memory_s = dtype_bytes * weights * touched / bytes_per_s
    # Written and read again between the two products and before the sum.
    activations_s = dtype_bytes * 3.0 * rows * (hidden + intermediate) / bytes_per_s
    return c.fixed_s + _soft_max(compute_s, memory_s, c.sharpness) + activations_s


def experts_touched(num_tokens: Any, experts: Any, experts_per_token: Any) -> Any:
    """Return how many experts of a layer at least one token is expected to choose."""
    return experts * (1.0 - (1.0 - experts_per_token / experts) ** num_tokens)


def all_reduce_s(num_bytes: Any, num_gpus: int, bytes_per_s: float, latency_s: float) -> Any:
    """Return the time to sum ``num_bytes`` over all GPUs: a ring moves them twice, less a share."""
    return latency_s + 2.0 * (num_gpus - 1) / num_gpus * num_bytes / bytes_per_s


def _soft_max(a_s: Any, b_s: Any, sharpness: float) -> Any:
    """Power mean: about the larger of the two, more where they are alike."""
    return (a_s**sharpness + b_s**sharpness) ** (1.0 / sharpness)
