"""A small model with random weights of a real model's spread, in bfloat16, for GPUs.

vLLM's own dummy weights are so small that sampled tokens hardly depend on the KV cache; with these
a corrupted cache shows at once. Attention has 16 heads of 64, so that FlashAttention 3 takes it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

STD = 0.08
HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE, VOCABULARY = 1024, 8, 16, 8, 2816, 32000


def write_model(folder: Path) -> Path:
    """Write config.json and weights into ``folder``; there is no tokenizer."""
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "bos_token_id": None,
        "eos_token_id": 2,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 4096,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": VOCABULARY,
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(20601309)

    def draw(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * STD).to(torch.bfloat16)

    head = HIDDEN // HEADS
    weights = {"model.embed_tokens.weight": draw(VOCABULARY, HIDDEN)}
    weights["model.norm.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
    for number in range(LAYERS):
        layer = f"model.layers.{number}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{norm}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
        for name, rows in (("q", HIDDEN), ("k", KV_HEADS * head), ("v", KV_HEADS * head)):
            weights[f"{layer}.self_attn.{name}_proj.weight"] = draw(rows, HIDDEN)
            weights[f"{layer}.self_attn.{name}_proj.bias"] = draw(rows)
        weights[f"{layer}.self_attn.o_proj.weight"] = draw(HIDDEN, HIDDEN)
        weights[f"{layer}.mlp.gate_proj.weight"] = draw(INTERMEDIATE, HIDDEN)
        weights[f"{layer}.mlp.up_proj.weight"] = draw(INTERMEDIATE, HIDDEN)
        weights[f"{layer}.mlp.down_proj.weight"] = draw(HIDDEN, INTERMEDIATE)
    save_file(weights, str(folder / "model.safetensors"))
    return folder
