"""Models by shape alone: a config.json for vLLM's random weights, made where it is needed."""

import json
from pathlib import Path
from typing import Any

from superinfer_runtime.sim.machine.model_shape import ModelShape, known_model
from superinfer_runtime.tiny_model import ensure_tiny_model

SHAPES = {"7b": "Qwen2.5-7B", "32b": "Qwen2.5-32B"}
MODELS = (*SHAPES, "tiny")


def config_of(model: str) -> dict[str, Any]:
    """What config.json says of one of `MODELS`."""
    if model == "tiny":
        tiny: dict[str, Any] = json.loads((ensure_tiny_model() / "config.json").read_text())
        return tiny
    shape = known_model(SHAPES[model])
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
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "bos_token_id": None,
        "eos_token_id": 2,
        "use_sliding_window": False,
        "initializer_range": 0.02,
    }


def shape_of(model: str) -> ModelShape:
    return ModelShape.from_config(config_of(model), model)


def write_config(model: str, folder: Path) -> Path:
    """Write config.json into ``folder``; there is no tokenizer and no weights."""
    (folder / "config.json").write_text(json.dumps(config_of(model)))
    return folder
