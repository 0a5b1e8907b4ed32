"""The shape of a transformer: all that its cost depends on.

Covers decoders with grouped-query attention over the whole context and a dense or a mixture-of-
experts MLP: the families of Llama, Qwen and Mixtral. What costs differently (latent or linear
attention, shared experts, quantised weights) is refused, not approximated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of one model. Norms and biases, under 0.1 % of the weights, are left out."""

    name: str
    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    """Of a dense MLP."""
    vocab: int
    tied_embeddings: bool = False
    num_experts: int = 0
    """0: a dense MLP."""
    experts_per_token: int = 0
    moe_intermediate: int = 0
    """Of one expert."""
    dtype_bytes: int = 2
    """Of a weight, an activation and a KV element."""
    gated_mlp: bool = True
    """Whether the MLP has a gate beside its way up (SwiGLU)."""

    @property
    def attention_params(self) -> int:
        """Weights of one layer's attention."""
        return self.hidden * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)

    @property
    def mlp_matrices(self) -> int:
        return 3 if self.gated_mlp else 2

    @property
    def expert_params(self) -> int:
        """Weights of one expert."""
        return self.mlp_matrices * self.hidden * self.moe_intermediate

    @property
    def num_params(self) -> int:
        """Weights of the whole model."""
        return self._params(self.num_experts)

    @property
    def active_params(self) -> int:
        """Weights that one token passes, both embeddings included."""
        return self._params(self.experts_per_token)

    @property
    def weight_bytes(self) -> int:
        return self.num_params * self.dtype_bytes

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * self.dtype_bytes

    def _params(self, experts: int) -> int:
        if self.num_experts:
            mlp = experts * self.expert_params + self.hidden * self.num_experts
        else:
            mlp = self.mlp_matrices * self.hidden * self.intermediate
        embeddings = (1 if self.tied_embeddings else 2) * self.vocab * self.hidden
        return self.num_layers * (self.attention_params + mlp) + embeddings

    @staticmethod
    def from_config(config: Mapping[str, Any], name: str = "") -> "ModelShape":
        """Read a Hugging Face ``config.json``; one of a multimodal model gives its text part.

        Raises:
            ValueError: a field is missing or no number, or the model is of a kind not covered.
        """
        text = config.get("text_config")
        merged = {**config, **text} if isinstance(text, Mapping) else config
        return _read(_Fields(merged), name or str(config.get("model_type", "model")))


def known_model(name: str) -> ModelShape:
    """Return a built-in shape; case, organisation and ``-Instruct`` do not matter.

    Raises:
        ValueError: no such model is built in; says which are.
    """
    bare = name.rpartition("/")[2].lower()
    for suffix in ("-hf", "-v0.1", "-instruct"):
        bare = bare.removesuffix(suffix)
    shape = _KNOWN.get(bare.replace("meta-llama-", "llama-"))
    if shape is None:
        names = ", ".join(shape.name for shape in _KNOWN.values())
        raise ValueError(f"no built-in model {name!r}; there are {names}: or give a config.json")
    return shape


class _Fields:
    """Fields of a config, with errors that name them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def get(self, *names: str) -> Any:
        """First of ``names`` that is there and not null, else None."""
        return next((self._config[n] for n in names if self._config.get(n) is not None), None)

    def size(self, *names: str, default: int | None = None) -> int:
        value = self.get(*names)
        if value is None:
            if default is None:
                raise ValueError(f"the model's config has no {' or '.join(names)}")
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{names[0]} of the model's config is {value!r}, not a positive size")
        return value


_REFUSED = {
    "kv_lora_rank": "latent attention",
    "linear_num_value_heads": "linear attention",
    "shared_expert_intermediate_size": "shared experts",
    "n_shared_experts": "shared experts",
    "quantization_config": "quantised weights",
}
_DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def _read(fields: _Fields, name: str) -> ModelShape:
    for key, what in _REFUSED.items():
        if fields.get(key):
            raise ValueError(f"{what} ({key} in the model's config) is not simulated")
    if fields.get("sliding_window") and fields.get("use_sliding_window") is not False:
        raise ValueError("attention over a sliding window is not simulated")
    other_layers = set(fields.get("layer_types") or ()) - {"full_attention"}
    if other_layers:
        raise ValueError(f"layers of type {', '.join(sorted(other_layers))} are not simulated")
    dtype = str(fields.get("dtype", "torch_dtype") or "bfloat16").removeprefix("torch.")
    if dtype not in _DTYPE_BYTES:
        raise ValueError(f"dtype {dtype!r} of the model's config is not simulated")
    hidden = fields.size("hidden_size")
    num_heads = fields.size("num_attention_heads")
    counts_experts = ("num_experts", "num_local_experts")
    experts = fields.size(*counts_experts) if fields.get(*counts_experts) else 0
    # Mixtral keeps the size of its experts where others keep that of the dense MLP.
    moe_intermediate = fields.size("moe_intermediate_size", "intermediate_size") if experts else 0
    return ModelShape(
        name=name,
        num_layers=fields.size("num_hidden_layers"),
        hidden=hidden,
        num_heads=num_heads,
        num_kv_heads=fields.size("num_key_value_heads", default=num_heads),
        head_dim=fields.size("head_dim", default=hidden // num_heads),
        intermediate=fields.size("intermediate_size", default=moe_intermediate or None),
        vocab=fields.size("vocab_size"),
        tied_embeddings=bool(fields.get("tie_word_embeddings")),
        num_experts=experts,
        experts_per_token=fields.size("num_experts_per_tok") if experts else 0,
        moe_intermediate=moe_intermediate,
        dtype_bytes=_DTYPE_BYTES[dtype],
        gated_mlp=fields.get("hidden_act") in (None, "silu", "swish"),
    )


# From the models' public config.json files.
_KNOWN: dict[str, ModelShape] = {
    shape.name.lower(): shape
    for shape in (
        ModelShape("Llama-3-8B", 32, 4096, 32, 8, 128, 14336, 128256),
        ModelShape("Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256),
        ModelShape("Llama-3.1-70B", 80, 8192, 64, 8, 128, 28672, 128256),
        ModelShape("Qwen2.5-7B", 28, 3584, 28, 4, 128, 18944, 152064),
        ModelShape("Qwen2.5-14B", 48, 5120, 40, 8, 128, 13824, 152064),
        ModelShape("Qwen2.5-32B", 64, 5120, 40, 8, 128, 27648, 152064),
        ModelShape(
            *("Mixtral-8x7B", 32, 4096, 32, 8, 128, 14336, 32000),
            num_experts=8,
            experts_per_token=2,
            moe_intermediate=14336,
        ),
        ModelShape(
            *("Qwen3-30B-A3B", 48, 2048, 32, 4, 128, 6144, 151936),
            num_experts=128,
            experts_per_token=8,
            moe_intermediate=768,
        ),
    )
}
