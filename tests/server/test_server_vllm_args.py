"""From the runtime configuration to vLLM's command line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.runtime_config import (
    KvCacheConfig,
    RuntimeConfig,
    SchedulerKnobs,
    ServerConfig,
    TierBudget,
)
from superinfer_contract.slo import SloClass
from superinfer_contract.validation import ConfigError
from superinfer_runtime.engine.config import EngineConfig
from superinfer_runtime.server.vllm_args import (
    block_size_argv,
    engine_argv,
    hbm_argv,
    kv_transfer_config,
    rotation_argv,
)

MIB = 2**20


def argv(**engine_args: Any) -> list[str]:
    return engine_argv(RuntimeConfig(engine_args=engine_args), "m", {})[2:]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_model_len", 1024, ["--max-model-len=1024"]),
        ("--max-model-len", 1024, ["--max-model-len=1024"]),
        ("gpu_memory_utilization", 0.5, ["--gpu-memory-utilization=0.5"]),
        ("dtype", "float32", ["--dtype=float32"]),
        ("seed", -1, ["--seed=-1"]),
        ("enforce-eager", True, ["--enforce-eager"]),
        ("enable_prefix_caching", False, ["--no-enable-prefix-caching"]),
        ("disable_log_stats", False, []),
        ("tokenizer", None, []),
        ("served_model_name", ["a", "b"], ["--served-model-name", "a", "b"]),
        ("served_model_name", [], []),
        ("middleware", ["x.Y", "z.W"], ["--middleware=x.Y", "--middleware=z.W"]),
        ("allowed_origins", ["http://a"], ['--allowed-origins=["http://a"]']),
        ("rope_scaling", {"a_b": [1]}, ['--rope-scaling={"a_b": [1]}']),
        ("compilation_config.max_x", 3, ["--compilation-config.max_x=3"]),
    ],
)
def test_an_engine_argument_becomes_a_flag(key: str, value: Any, expected: list[str]) -> None:
    assert argv(**{key: value}) == expected


def test_model_and_drain_time_come_first() -> None:
    config = RuntimeConfig(server=ServerConfig(drain_s=2.5))
    assert engine_argv(config, "/a model", {}) == ["--model=/a model", "--shutdown-timeout=3"]


def test_the_users_arguments_win_over_defaults() -> None:
    config = RuntimeConfig(engine_args={"enforce_eager": False})
    flags = engine_argv(config, "m", {"enforce-eager": True, "dtype": "float32"})[2:]
    assert flags == ["--no-enforce-eager", "--dtype=float32"]


@pytest.mark.parametrize("key", ["model", "host", "port", "--port", "shutdown_timeout"])
def test_what_has_its_own_place_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="instead"):
        argv(**{key: "1"})


def test_two_sizes_of_the_kv_cache_are_refused() -> None:
    config = RuntimeConfig(
        kv_cache=KvCacheConfig(hbm=TierBudget(max=MIB)),
        engine_args={"kv_cache_memory_bytes": MIB},
    )
    with pytest.raises(ConfigError, match=r"kv_cache\.hbm\.max"):
        engine_argv(config, "m", {})


def test_the_hbm_budget_is_shared_by_the_workers() -> None:
    assert hbm_argv(None, 1) == []
    assert hbm_argv(TierBudget(max=8 * MIB), 2) == [f"--kv-cache-memory-bytes={4 * MIB}"]


def test_the_plug_ins_read_what_was_configured() -> None:
    config = RuntimeConfig(
        slo_classes=(
            SloClass(name="chat", ttft_s=1, tbt_s=0.05, weight=2, default=True),
            SloClass(name="batch", ttft_s=60, tbt_s=1),
        ),
        kv_cache=KvCacheConfig(
            hbm=TierBudget(min=MIB, max=8 * MIB), dram=TierBudget(max=64 * MIB), slab=4 * MIB
        ),
        scheduler=SchedulerKnobs(alpha=2.0, relegate=False),
    )
    flags = rotation_argv(config, "/run/control.sock")
    assert flags[0] == "--scheduler-cls=superinfer_runtime.engine.scheduler.RotaScheduler"
    transfer = json.loads(flags[1].removeprefix("--kv-transfer-config="))
    assert transfer["kv_connector_module_path"] == "superinfer_runtime.engine.connector"
    engine = EngineConfig.model_validate(transfer["kv_connector_extra_config"]["superinfer"])
    assert engine.slo_classes == config.slo_classes
    assert engine.kv_cache.hbm == config.kv_cache.hbm
    assert engine.kv_cache.slab_bytes == 4 * MIB
    assert engine.scheduler == config.scheduler
    assert engine.control_socket == "/run/control.sock"


def test_no_secret_reaches_vllm() -> None:
    config = RuntimeConfig.model_validate(
        {
            "server": {"admin_token": "s3cret"},
            "telemetry": {"otlp_headers": {"authorization": "Bearer s3cret"}},
        }
    )
    assert "s3cret" not in " ".join([*engine_argv(config, "m", {}), *rotation_argv(config, "s")])


NAMES = st.from_regex(r"[a-z]{2,8}(_[a-z]{2,8}){0,2}", fullmatch=True)
VALUES = st.one_of(st.booleans(), st.integers(), st.text(), st.lists(st.text(min_size=1)))


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_every_flag_is_one_that_vllm_spells(engine_args: dict[str, Any]) -> None:
    try:
        flags = argv(**engine_args)
    except ConfigError:
        return
    lists = [item for value in engine_args.values() if isinstance(value, list) for item in value]
    for flag in flags:
        assert flag in lists or "_" not in flag.split("=", 1)[0]


def test_the_transfer_config_is_plain_json() -> None:
    data = kv_transfer_config(RuntimeConfig(), "s")
    assert json.loads(json.dumps(data)) == data


def test_the_block_size_is_chosen_only_if_the_user_did_not() -> None:
    assert block_size_argv(None) == ["--block-size=64"]
    assert block_size_argv(16) == []
