"""The embedded default model: a small Qwen2 with random weights, made locally in a second.

It exists to run the whole of the system where no model is at hand, and to check it: the weights are
drawn with a real model's spread (std 0.08), so that sampled tokens depend on the KV cache and a
corrupted cache shows. Text in and out is bytes; what it says is noise.

The same parameters always give the same files, so a cached copy is never stale.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULT_STD = 0.08
DEFAULT_LAYERS = 4
SERVED_NAME = "superinfer-tiny"
KV_CACHE_ARGUMENT = "kv-cache-memory-bytes"
ENGINE_DEFAULTS: Mapping[str, Any] = {
    "served-model-name": SERVED_NAME,
    "enforce-eager": True,
    KV_CACHE_ARGUMENT: 128 * 2**20,
}
"""vLLM arguments that suit it: compiling gains nothing, and 128 MiB hold 64k tokens of KV."""

_FORMAT = 1
_SEED = 20601309
_VOCAB = 512
_HIDDEN = 128
_HEADS = 4
_KV_HEADS = 2
_INTERMEDIATE = 256
_CONTEXT = 4096
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_END_OF_TEXT, _IM_START, _IM_END = range(256, 259)
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def ensure_tiny_model(
    std: float = DEFAULT_STD, cache: Path | None = None, num_layers: int = DEFAULT_LAYERS
) -> Path:
    """Return the folder of the model, making it first if it is not in the cache.

    Args:
        std: standard deviation of the weights.
        cache: folder of the cache; default ``$XDG_CACHE_HOME`` or ``~/.cache``, below
            ``superinfer``.
        num_layers: depth; a deeper model takes longer a step and more KV a token.

    Raises:
        OSError: the cache cannot be written.
    """
    root = cache if cache is not None else _default_cache()
    target = root / f"tiny-qwen2-{_version(std, num_layers)}"
    if target.is_dir():
        return target
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".tiny-", dir=root))
    try:
        _write(partial, std, num_layers)
        partial.chmod(0o755)
        try:
            partial.rename(target)  # in one step: a reader never sees half a model
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "superinfer"


def _version(std: float, num_layers: int) -> str:
    what = [_FORMAT, _SEED, std, _config(num_layers), _CHAT_TEMPLATE]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _config(num_layers: int) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "bos_token_id": None,
        "eos_token_id": _IM_END,
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": _HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": _INTERMEDIATE,
        "max_position_embeddings": _CONTEXT,
        "num_attention_heads": _HEADS,
        "num_hidden_layers": num_layers,
        "num_key_value_heads": _KV_HEADS,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": _VOCAB,
    }


def _write(folder: Path, std: float, num_layers: int) -> None:
    def write_json(name: str, data: object) -> None:
        (folder / name).write_text(json.dumps(data, indent=2) + "\n")

    write_json("config.json", _config(num_layers))
    write_json("generation_config.json", {"eos_token_id": [_END_OF_TEXT, _IM_END]})
    write_json(
        "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": _CONTEXT,
            "eos_token": _SPECIAL[2],
            "pad_token": _SPECIAL[0],
            "additional_special_tokens": [_SPECIAL[1]],
            "clean_up_tokenization_spaces": False,
            "chat_template": _CHAT_TEMPLATE,
        },
    )
    _write_tokenizer(folder / "tokenizer.json")
    _write_weights(folder / "model.safetensors", std, num_layers)


def _write_tokenizer(path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *_SPECIAL]
    words += [f"<|unused_{index}|>" for index in range(_VOCAB - len(words))]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in _SPECIAL])
    tokenizer.save(str(path))


def _write_weights(path: Path, std: float, num_layers: int) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    draw = np.random.default_rng(_SEED)

    def normal(*shape: int) -> Any:
        return draw.normal(0.0, std, shape).astype(np.float32)

    ones = np.ones(_HIDDEN, np.float32)
    kv_width = _HIDDEN // _HEADS * _KV_HEADS
    weights = {"model.embed_tokens.weight": normal(_VOCAB, _HIDDEN), "model.norm.weight": ones}
    for layer in range(num_layers):
        name = f"model.layers.{layer}"
        weights[f"{name}.input_layernorm.weight"] = ones
        weights[f"{name}.post_attention_layernorm.weight"] = ones
        for part, width in (("q", _HIDDEN), ("k", kv_width), ("v", kv_width)):
            weights[f"{name}.self_attn.{part}_proj.weight"] = normal(width, _HIDDEN)
            weights[f"{name}.self_attn.{part}_proj.bias"] = normal(width)
        weights[f"{name}.self_attn.o_proj.weight"] = normal(_HIDDEN, _HIDDEN)
        weights[f"{name}.mlp.gate_proj.weight"] = normal(_INTERMEDIATE, _HIDDEN)
        weights[f"{name}.mlp.up_proj.weight"] = normal(_INTERMEDIATE, _HIDDEN)
        weights[f"{name}.mlp.down_proj.weight"] = normal(_HIDDEN, _INTERMEDIATE)
    save_file(weights, str(path), metadata={"format": "pt"})
