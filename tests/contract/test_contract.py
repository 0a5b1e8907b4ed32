"""The contract's own rules: what is refused, with which words, and what survives a trip."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from superinfer_contract.kv_budget import KvBudgetPatch, TierState
from superinfer_contract.metrics import ALL
from superinfer_contract.quantity import format_bytes, parse_bytes
from superinfer_contract.runtime_config import RuntimeConfig, TierBudget
from superinfer_contract.slo import SloClass
from superinfer_contract.validation import ConfigError, describe, load_model

CHAT = {"name": "chat", "ttft_s": 1, "tbt_s": 0.1, "default": True}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("400G", 400 * 10**9),
        ("7", 7),
        (7, 7),
        ("2k", 2000),
    ],
)
def test_byte_quantities_read_as_kubernetes_does(text: object, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "Mi", "-1", "1 Mi", "1MiB", "x", None, True, [1]])
def test_other_quantities_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="byte quantity"):
        parse_bytes(text)


@given(st.integers(0, 2**50))
def test_formatted_bytes_are_close_to_what_was_formatted(size_bytes: int) -> None:
    assert abs(parse_bytes(format_bytes(size_bytes)) - size_bytes) <= 0.06 * size_bytes


def test_an_empty_configuration_is_the_paper_s() -> None:
    config = RuntimeConfig()
    assert (config.default_class.ttft_s, config.default_class.tbt_s) == (5.0, 0.1)


def test_a_configuration_survives_json() -> None:
    config = RuntimeConfig.model_validate(
        {
            "slo_classes": [CHAT],
            "kv_cache": {"dram": {"max": "8Mi"}},
            "engine_args": {"dtype": "float32"},
        }
    )
    assert RuntimeConfig.model_validate_json(config.model_dump_json()) == config


def test_a_lone_class_is_the_default_one() -> None:
    config = RuntimeConfig.model_validate({"slo_classes": [{**CHAT, "default": False}]})
    assert config.default_class.name == "chat"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slo_classes": [CHAT, {**CHAT, "name": "b"}]}, "exactly one SLO class"),
        ({"slo_classes": [CHAT, {**CHAT, "default": False}]}, "must differ"),
        ({"slo_classes": []}, "1 to 16 SLO classes"),
        ({"slo_classes": [{**CHAT, "ttft_s": 0}]}, "slo_classes.0.ttft_s: Input should be greater"),
        ({"kv_cache": {"dram": {"min": "2Gi", "max": "1Gi"}}}, "must not exceed max"),
        ({"kv_cache": {"dram": {"max": "1Gi", "initial": "2Gi"}}}, "must lie between"),
        ({"modle": "x"}, "modle: Extra inputs"),
        ({"version": 2}, "version: Input should be 1"),
        ({"server": {"admin_token": "a", "admin_token_file": "b"}}, "not both"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RuntimeConfig.model_validate(change)
    assert words in describe(caught.value)
    assert len(describe(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "{", "a.json:1:2: not valid JSON"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", "- 1", "must be a mapping, not list"),
        ("a.json", '{"modle": 1}', "a.json: modle: Extra inputs"),
    ],
)
def test_files_are_refused_with_their_place(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
        load_model(RuntimeConfig, path)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_model(RuntimeConfig, tmp_path / "none.json")


def test_initial_defaults_to_the_maximum() -> None:
    assert TierBudget(max=8).initial_bytes == 8


def test_a_patch_names_a_tier_and_takes_quantities() -> None:
    assert KvBudgetPatch.model_validate_json('{"dram_bytes": "8Mi"}').dram_bytes == 8 * 2**20
    with pytest.raises(ValidationError, match="at least one"):
        KvBudgetPatch.model_validate_json("{}")


def test_a_tier_is_pending_until_it_holds_what_is_desired() -> None:
    state = TierState(
        min_bytes=0, max_bytes=9, desired_bytes=4, allocated_bytes=2, in_use_bytes=1, step_bytes=1
    )
    assert state.pending
    assert not state.model_copy(update={"allocated_bytes": 4}).pending


def test_secrets_do_not_show_in_logs() -> None:
    config = RuntimeConfig.model_validate({"server": {"admin_token": "hunter2"}})
    assert "hunter2" not in repr(config)
    assert "hunter2" not in json.dumps(config.model_dump(mode="json"))


def test_metric_names_are_unique() -> None:
    names = [metric.name for metric in ALL]
    assert len(set(names)) == len(names)


def test_slo_class_names_are_labels() -> None:
    with pytest.raises(ValidationError):
        SloClass(name="Chat!", ttft_s=1, tbt_s=1)
