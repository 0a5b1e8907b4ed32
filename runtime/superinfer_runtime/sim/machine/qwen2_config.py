"""config.json of a Qwen2 model of a given shape: what vLLM needs for random weights."""

from typing import Any

from superinfer_runtime.sim.machine.model_shape import ModelShape, known_model

SIZES = {"7b": "Qwen2.5-7B", "32b": "Qwen2.5-32B"}
"""The shapes that benchmarks on GPUs know, by their short names."""


def qwen2_config(shape: ModelShape) -> dict[str, Any]:
    """Return the contents of config.json; `ModelShape.from_config` gives ``shape`` back."""
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "vocab_size": shape.vocab,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        "tie_word_embeddings": shape.tied_embeddings,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "bos_token_id": None,
        "eos_token_id": 2,
        "use_sliding_window": False,
        "initializer_range": 0.02,
    }


def config_of_size(size: str) -> dict[str, Any]:
    """The same of one of `SIZES`."""
    return qwen2_config(known_model(SIZES[size]))
