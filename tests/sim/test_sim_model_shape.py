"""Shapes of models: sizes as their publishers state them, and configs that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from superinfer_runtime.sim.machine.model_shape import ModelShape, known_model
from superinfer_runtime.sim.machine.qwen2_config import SIZES, config_of_size
from superinfer_runtime.tiny_model import ensure_tiny_model

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
MIXTRAL = LLAMA | {
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}
QWEN3_MOE: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "sliding_window": None,
    "vocab_size": 151936,
}


@pytest.mark.parametrize(
    ("name", "weights_gb", "kv_bytes_per_token", "active_billions"),
    [
        ("Llama-3.1-8B", 16.1, 131_072, 8.0),
        ("Llama-3-8B", 16.1, 131_072, 8.0),
        ("Llama-3.1-70B", 141.2, 327_680, 70.6),
        ("Qwen2.5-7B", 15.2, 57_344, 7.6),
        ("Qwen2.5-14B", 29.6, 196_608, 14.8),
        ("Qwen2.5-32B", 65.6, 262_144, 32.8),
        ("Mixtral-8x7B", 93.4, 131_072, 12.9),
        ("Qwen3-30B-A3B", 61.1, 98_304, 3.35),
    ],
)
def test_sizes_are_the_published_ones(
    name: str, weights_gb: float, kv_bytes_per_token: int, active_billions: float
) -> None:
    model = known_model(name)
    assert model.weight_bytes / 1e9 == pytest.approx(weights_gb, rel=3e-3)
    assert model.kv_bytes_per_token == kv_bytes_per_token
    assert model.active_params / 1e9 == pytest.approx(active_billions, rel=5e-3)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "Llama-3-8B"),
        ("Qwen/Qwen2.5-32B-Instruct", "Qwen2.5-32B"),
        ("QWEN2.5-7B", "Qwen2.5-7B"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "Mixtral-8x7B"),
    ],
)
def test_a_name_is_found_however_it_is_written(written: str, name: str) -> None:
    assert known_model(written).name == name


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no built-in model 'gpt-5'.*Qwen2\.5-32B"):
        known_model("gpt-5")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LLAMA, "Llama-3.1-8B"),
        (MIXTRAL, "Mixtral-8x7B"),
        (QWEN3_MOE, "Qwen3-30B-A3B"),
        ({"model_type": "llava", "text_config": LLAMA, "vision_config": {}}, "Llama-3.1-8B"),
    ],
)
def test_a_config_gives_the_built_in_shape(config: dict[str, Any], name: str) -> None:
    assert ModelShape.from_config(config, name) == known_model(name)


def test_the_embedded_model_is_read() -> None:
    config = json.loads((ensure_tiny_model() / "config.json").read_text())
    tiny = ModelShape.from_config(config, "tiny")
    assert tiny.dtype_bytes == 4
    assert tiny.tied_embeddings
    assert tiny.kv_bytes_per_token == 4 * 2 * 2 * 32 * 4


def test_the_embedded_models_weights_are_those_in_its_file() -> None:
    folder: Path = ensure_tiny_model()
    tiny = ModelShape.from_config(json.loads((folder / "config.json").read_text()))
    in_file = (folder / "model.safetensors").stat().st_size
    assert tiny.weight_bytes == pytest.approx(in_file, rel=0.02)


@pytest.mark.parametrize(
    "field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]
)
def test_a_missing_field_is_named(field: str) -> None:
    config = {key: value for key, value in LLAMA.items() if key != field}
    with pytest.raises(ValueError, match=f"no {field}"):
        ModelShape.from_config(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "4096"}, "hidden_size of the model's config is '4096'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers of the model's config is 0"),
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights"),
        ({"torch_dtype": "float8_e4m3fn"}, "float8_e4m3fn"),
        ({"sliding_window": 4096}, "sliding window"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
    ],
)
def test_what_costs_differently_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelShape.from_config(LLAMA | change)


def test_a_window_that_is_switched_off_does_no_harm() -> None:
    config = LLAMA | {"sliding_window": 131072, "use_sliding_window": False}
    assert ModelShape.from_config(config, "Llama-3.1-8B") == known_model("Llama-3.1-8B")


@pytest.mark.parametrize("size", SIZES)
def test_a_config_made_of_a_shape_reads_as_that_shape(size: str) -> None:
    shape = known_model(SIZES[size])
    assert ModelShape.from_config(config_of_size(size), shape.name) == shape
