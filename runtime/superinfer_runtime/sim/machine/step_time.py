"""How long one engine step takes on a GPU: the sum of its operators, layer by layer.

A step computes one token of each decoding request and chunks of some prompts, all tokens in one
batch. Its matrix products depend on their number alone and are remembered; attention depends on the
contexts and is computed each time. Invariant: more work never takes less time than its share of the
lower bounds below, which is what an offline bound may rely on:

    step_s >= max(tokens x min_prefill_token_s, min_weights_step_s)
              + context tokens x kv_read_s_per_token
"""

from collections.abc import Sequence

from superinfer_runtime.sim.machine.hardware import Hardware
from superinfer_runtime.sim.machine.model_shape import ModelShape
from superinfer_runtime.sim.machine.operator_times import (
    DECODE_ATTENTION,
    GEMM,
    MOE,
    PREFILL_ATTENTION,
    all_reduce_s,
    decode_attention_s,
    gemm_s,
    moe_s,
    prefill_attention_s,
)

SMALL_KERNELS_S = 6e-6
"""Norms, rotary embedding, activation and KV write of one layer, launched from a graph. Assumed."""
_SMALL_KERNELS_EFFICIENCY = 0.8
"""Share of the memory bandwidth that element-wise kernels reach. Assumed."""
_SAMPLING_BYTES_PER_LOGIT = 20
"""Read and written to turn a logit into a choice, several passes in float32. Assumed."""
ACTIVATION_BYTES = 2e9
"""Set aside of HBM for activations and graphs. With it an H200 holds 272k tokens of Qwen2.5-32B's
KV at vLLM's default share of 0.92; vLLM itself found room for 269k."""


class StepTimes:
    """Times of one model on one kind of hardware, split over ``tensor_parallel`` GPUs."""

    def __init__(self, model: ModelShape, hardware: Hardware, tensor_parallel: int = 1) -> None:
        if not 1 <= tensor_parallel <= hardware.num_gpus:
            raise ValueError(
                f"{hardware.name} has {hardware.num_gpus} GPUs a replica, not {tensor_parallel}"
            )
        self.model = model
        self.hardware = hardware
        self.tensor_parallel = tensor_parallel
        self._chip = hardware.chip
        self._heads = model.num_heads / tensor_parallel
        self._kv_heads = max(model.num_kv_heads / tensor_parallel, 1.0)
        self._kv_bytes = 2 * self._kv_heads * model.head_dim * model.dtype_bytes
        self._by_tokens: dict[int, float] = {}
        self._by_samples: dict[int, float] = {}
        self._set_lower_bounds()

    def step_s(
        self,
        num_decodes: int,
        decode_context_tokens: int,
        prefills: Sequence[tuple[int, int]],
        num_sampled: int,
    ) -> float:
        """Return the seconds of one step on the GPU; 0 for an empty one.

        Args:
            num_decodes: requests that compute one token.
            decode_context_tokens: tokens that these attend to, summed.
            prefills: (tokens of the chunk, tokens of the same request before it).
            num_sampled: requests whose next token is drawn.
        """
        new_tokens = longest = past_tokens = 0
        pairs = 0.0
        for chunk, past in prefills:
            new_tokens += chunk
            past_tokens += past
            pairs += chunk * (past + 0.5 * chunk)
            if chunk > longest:
                longest = chunk
        num_tokens = num_decodes + new_tokens
        if not num_tokens:
            return 0.0
        products_s = self._by_tokens.get(num_tokens)
        if products_s is None:
            products_s = self._by_tokens[num_tokens] = self._token_s(num_tokens)
        sampling_s = self._by_samples.get(num_sampled)
        if sampling_s is None:
            sampling_s = self._by_samples[num_sampled] = self._sampling_s(num_sampled)
        attention_s = 0.0
        if num_decodes:
            kv_bytes = decode_context_tokens * self._kv_bytes
            attention_s = decode_attention_s(num_decodes, kv_bytes, self._kv_heads, self._chip)
        if new_tokens:
            attention_s += prefill_attention_s(
                pairs,
                new_tokens,
                longest,
                self._heads,
                self._kv_heads,
                self.model.head_dim,
                self._chip,
            )
            attention_s += past_tokens * self._kv_read_s
            if num_decodes:  # one launch computes both
                attention_s -= PREFILL_ATTENTION.fixed_s
        return products_s + sampling_s + self.model.num_layers * attention_s

    def prefill_s(self, tokens: int) -> float:
        """Return the seconds of a step that computes a whole prompt, alone."""
        return self.step_s(0, 0, [(tokens, 0)], 1)

    def cpu_s(self, num_scheduled: int) -> float:
        """Return the CPU's seconds for a step of so many requests."""
        return self.hardware.cpu_step_s + num_scheduled * self.hardware.cpu_request_s

    # --- parts of a step ----------------------------------------------------------------------

    def _token_s(self, num_tokens: int) -> float:
        """All that depends on the number of tokens alone."""
        model = self.model
        layer_s = SMALL_KERNELS_S + self._elementwise_s(num_tokens)
        layer_s += sum(self._gemm_s(num_tokens, n, k) for n, k in self._matrices())
        if model.num_experts:
            layer_s += float(
                moe_s(
                    num_tokens,
                    model.num_experts,
                    model.experts_per_token,
                    model.hidden,
                    model.moe_intermediate / self.tensor_parallel,
                    self._chip,
                    model.dtype_bytes,
                )
            )
        if self.tensor_parallel > 1:
            layer_s += 2.0 * all_reduce_s(
                num_tokens * model.hidden * model.dtype_bytes,
                self.tensor_parallel,
                self.hardware.all_reduce_bytes_per_s,
                self.hardware.all_reduce_latency_s,
            )
        return self.hardware.launch_s + model.num_layers * layer_s

    def _matrices(self) -> list[tuple[float, float]]:
        """(outputs, inputs) of one layer's dense products on one GPU."""
        model, shards = self.model, self.tensor_parallel
        attended = self._heads * model.head_dim
        qkv = attended + 2 * self._kv_heads * model.head_dim
        matrices: list[tuple[float, float]] = [(qkv, model.hidden), (model.hidden, attended)]
        if model.num_experts:
            matrices.append((model.num_experts, model.hidden))
        else:
            up = (model.mlp_matrices - 1) * model.intermediate / shards
            matrices += [(up, model.hidden), (model.hidden, model.intermediate / shards)]
        return matrices

    def _gemm_s(self, m: float, n: float, k: float) -> float:
        return float(gemm_s(m, n, k, self._chip, self.model.dtype_bytes))

    def _elementwise_s(self, num_tokens: int) -> float:
        """Norms and rotary embedding pass over a token about ten times, the activation once."""
        model = self.model
        inner = model.experts_per_token * model.moe_intermediate or model.intermediate
        elements = 10 * model.hidden + 3 * inner / self.tensor_parallel
        num_bytes = num_tokens * elements * model.dtype_bytes
        return num_bytes / (_SMALL_KERNELS_EFFICIENCY * self._chip.bytes_per_s)

    def _sampling_s(self, num_sampled: int) -> float:
        if not num_sampled:
            return 0.0
        vocab = self.model.vocab
        head_s = self._gemm_s(num_sampled, vocab / self.tensor_parallel, self.model.hidden)
        num_bytes = num_sampled * vocab * _SAMPLING_BYTES_PER_LOGIT
        return head_s + num_bytes / (_SMALL_KERNELS_EFFICIENCY * self._chip.bytes_per_s)

    # --- lower bounds -------------------------------------------------------------------------

    def _set_lower_bounds(self) -> None:
        model, chip, shards = self.model, self._chip, self.tensor_parallel
        flops_s = 2.0 / (GEMM.compute_efficiency * chip.peak_flops)
        read_s = model.dtype_bytes / (GEMM.bandwidth_efficiency * chip.bytes_per_s)
        dense = sum(n * k for n, k in self._matrices())
        expert = model.expert_params / shards
        chosen = model.experts_per_token
        moe_flops_s = 2.0 / (MOE.compute_efficiency * chip.peak_flops)
        moe_read_s = model.dtype_bytes / (MOE.bandwidth_efficiency * chip.bytes_per_s)
        head = model.vocab / shards * model.hidden
        self._kv_read_s = self._kv_bytes / (
            DECODE_ATTENTION.bandwidth_efficiency * chip.bytes_per_s
        )
        self.min_prefill_token_s = model.num_layers * (
            dense * flops_s + chosen * expert * moe_flops_s
        )
        """Seconds of matrix products of one prompt token in the largest batch."""
        self.min_decode_token_s = self.min_prefill_token_s + head * flops_s
        """The same of a token that is sampled."""
        self.min_weights_step_s = model.num_layers * (dense * read_s + chosen * expert * moe_read_s)
        """Seconds to read the weights that any step reads."""
        self.kv_read_s_per_token = model.num_layers * self._kv_read_s
        """Seconds to read the KV of one token of a decode's context."""


def kv_capacity_blocks(
    model: ModelShape,
    hardware: Hardware,
    tensor_parallel: int = 1,
    block_size: int = 16,
    utilization: float = 0.9,
) -> int:
    """Return the KV blocks that fit beside weights and activations; 0 if the model does not fit.

    Args:
        model: the model.
        hardware: each GPU.
        tensor_parallel: GPUs over which weights and KV are split.
        block_size: tokens a block.
        utilization: share of HBM that may be used.
    """
    room = tensor_parallel * (utilization * hardware.hbm_bytes - ACTIVATION_BYTES)
    copies = max(tensor_parallel / model.num_kv_heads, 1.0)  # of a KV head, where they are too few
    block_bytes = block_size * model.kv_bytes_per_token * copies
    return max(int((room - model.weight_bytes) / block_bytes), 0)
