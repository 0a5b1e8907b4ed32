"""The embedded model's files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from superinfer_runtime.tiny_model import ensure_tiny_model
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_tiny_model(cache=tmp_path_factory.mktemp("cache"))


def test_it_is_made_once_and_leaves_nothing_half_made(model: Path) -> None:
    made = {path: path.stat().st_mtime_ns for path in model.iterdir()}
    assert ensure_tiny_model(cache=model.parent) == model
    assert {path: path.stat().st_mtime_ns for path in model.iterdir()} == made
    assert list(model.parent.iterdir()) == [model]


def test_the_same_parameters_give_the_same_files(model: Path, tmp_path: Path) -> None:
    again = ensure_tiny_model(cache=tmp_path)
    assert again.name == model.name
    for path in model.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_weights_have_the_asked_spread(tmp_path: Path, model: Path) -> None:
    wide = ensure_tiny_model(std=0.2, cache=tmp_path)
    assert wide.name != model.name
    for folder, std in ((model, 0.08), (wide, 0.2)):
        weights = load_file(folder / "model.safetensors")
        assert np.std(weights["model.layers.0.mlp.up_proj.weight"]) == pytest.approx(std, rel=0.05)


def test_any_text_survives_the_tokenizer(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    text = "héllo  wörld\n\t🙂 <|unused_3|>"
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode())
    config = json.loads((model / "config.json").read_text())
    assert tokenizer.get_vocab_size() == config["vocab_size"] == 512
    assert tokenizer.id_to_token(config["eos_token_id"]) == "<|im_end|>"


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        ensure_tiny_model(cache=tmp_path / "file")
