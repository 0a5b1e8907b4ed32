"""Models by shape alone: a config.json for vLLM's random weights, made where it is needed."""

import json
from pathlib import Path
from typing import Any

from superinfer_runtime.sim.machine.model_shape import ModelShape
from superinfer_runtime.sim.machine.qwen2_config import SIZES, config_of_size
from superinfer_runtime.tiny_model import ensure_tiny_model

MODELS = (*SIZES, "tiny")


def config_of(model: str) -> dict[str, Any]:
    """What config.json says of one of `MODELS`."""
    if model == "tiny":
        tiny: dict[str, Any] = json.loads((ensure_tiny_model() / "config.json").read_text())
        return tiny
    return config_of_size(model)


def shape_of(model: str) -> ModelShape:
    return ModelShape.from_config(config_of(model), model)


def write_config(model: str, folder: Path) -> Path:
    """Write config.json into ``folder``; there is no tokenizer and no weights."""
    (folder / "config.json").write_text(json.dumps(config_of(model)))
    return folder
