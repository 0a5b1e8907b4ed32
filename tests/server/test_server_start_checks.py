"""What is checked before anything is loaded."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from superinfer_contract.runtime_config import KvCacheConfig, RuntimeConfig, TierBudget
from superinfer_contract.slo import SloClass
from superinfer_contract.validation import ConfigError
from superinfer_runtime.server import crash_note
from superinfer_runtime.server.eligibility import check_arguments, rotation_obstacle
from superinfer_runtime.server.listening import AddressError, bind
from superinfer_runtime.server.model_location import check_model, offline_environment
from superinfer_runtime.server.start_line import start_line

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize("model", ["./none", "/none", "~/none", "a/b/c", "none/"])
def test_a_path_that_does_not_exist_is_told(model: str) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        check_model(model, {})


def test_a_name_may_be_looked_up_unless_offline(tmp_path: Path) -> None:
    check_model("owner/model", {})
    check_model("s3://bucket/model", OFFLINE)
    environment = {**OFFLINE, "HF_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE"):
        check_model("owner/model", environment)
    (tmp_path / "hub" / "models--owner--model").mkdir(parents=True)
    check_model("owner/model", environment)


def test_a_local_model_needs_no_look_ups(tmp_path: Path) -> None:
    check_model(str(tmp_path), OFFLINE)
    assert offline_environment(str(tmp_path))["HF_HUB_OFFLINE"] == "1"
    assert offline_environment("owner/model") == {}


def test_a_free_port_is_held_and_a_taken_one_told() -> None:
    with bind("127.0.0.1", 0) as free:
        free.listen(1)
        port = free.getsockname()[1]
        with pytest.raises(AddressError, match=f"port {port} on 127.0.0.1 is in use"):
            bind("127.0.0.1", port)
    with bind("127.0.0.1", port) as again, socket.socket() as client:
        with pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))
        again.listen(1)
        client.connect(("127.0.0.1", port))


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on 192\.0\.2\.1:80"):
        bind("192.0.2.1", 80)


def engine_args(**changes: Any) -> Any:
    model = SimpleNamespace(runner_type="generate", is_encoder_decoder=False)
    defaults = {
        "scheduler_cls": None,
        "kv_transfer_config": None,
        "scheduling_policy": "fcfs",
        "speculative_config": None,
        "pipeline_parallel_size": 1,
        "data_parallel_size": 1,
        "data_parallel_rank": None,
        "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1,
        "runner": "auto",
        "create_model_config": lambda: model,
    }
    return SimpleNamespace(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"speculative_config": {}}, "speculative"),
        ({"pipeline_parallel_size": 2}, "pipeline"),
        ({"data_parallel_size": 2}, "data parallelism"),
        ({"data_parallel_rank": 0}, "data parallelism"),
        ({"decode_context_parallel_size": 2}, "context"),
        ({"prefill_context_parallel_size": 2}, "context"),
        ({"runner": "pooling"}, "pools"),
    ],
)
def test_what_cannot_rotate_is_served_by_vllm(changes: dict[str, Any], says: str) -> None:
    obstacle = rotation_obstacle(engine_args(**changes))
    assert obstacle is not None
    assert says in obstacle


@pytest.mark.parametrize(
    ("runner", "encoder_decoder", "says"),
    [("pooling", False, "pools"), ("generate", True, "encoder-decoder")],
)
def test_the_model_itself_may_be_the_obstacle(
    runner: str, encoder_decoder: bool, says: str
) -> None:
    model = SimpleNamespace(runner_type=runner, is_encoder_decoder=encoder_decoder)
    obstacle = rotation_obstacle(engine_args(create_model_config=lambda: model))
    assert obstacle is not None
    assert says in obstacle


def test_a_plain_engine_rotates() -> None:
    check_arguments(engine_args())
    assert rotation_obstacle(engine_args(tensor_parallel_size=4)) is None


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"scheduler_cls": "a.B"}, "--scheduler-cls"),
        ({"kv_transfer_config": object()}, "--kv-transfer-config"),
        ({"scheduling_policy": "priority"}, "--scheduling-policy"),
    ],
)
def test_another_scheduler_beside_ours_is_refused(changes: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        check_arguments(engine_args(**changes))


def test_the_start_line_shows_classes_and_budgets() -> None:
    mib = 2**20
    config = RuntimeConfig(
        slo_classes=(
            SloClass(name="chat", ttft_s=1, tbt_s=0.05, default=True),
            SloClass(name="batch", ttft_s=60, tbt_s=1),
        ),
        kv_cache=KvCacheConfig(dram=TierBudget(max=64 * mib, initial=16 * mib)),
    )
    assert start_line(config, ("127.0.0.1", 80), None) == (
        "superinfer: http://127.0.0.1:80 | RotaSched | classes chat* (TTFT 1 s, TBT 50 ms), "
        "batch (TTFT 60 s, TBT 1000 ms) | KV HBM sized by vLLM, DRAM 16Mi of 64Mi"
    )
    assert "DRAM" not in start_line(config, ("127.0.0.1", 80), "policy is stock")


def test_a_crash_note_keeps_the_first_cause(tmp_path: Path) -> None:
    import logging.config

    vllm_logging = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"vllm": {"class": "logging.NullHandler"}},
        "loggers": {"vllm": {"handlers": ["vllm"], "level": "INFO", "propagate": False}},
    }
    environment: dict[str, str] = {}
    note = crash_note.install(tmp_path, vllm_logging, environment)
    assert crash_note.cause(note) is None
    assert vllm_logging["loggers"] == {
        "vllm": {"handlers": ["vllm"], "level": "INFO", "propagate": False}
    }

    import json

    logging.config.dictConfig(json.loads(Path(environment["VLLM_LOGGING_CONFIG_PATH"]).read_text()))
    logger = logging.getLogger("vllm.engine")
    logger.error("no exception here")
    for message in ("no such\n  layer", "engine failed"):
        try:
            raise ValueError(message)
        except ValueError:
            logger.exception("failed")
    assert crash_note.cause(note) == "ValueError: no such layer"
    logging.getLogger("vllm").handlers.clear()


@pytest.mark.parametrize("name", ["VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING"])
def test_a_users_own_logging_is_left_alone(tmp_path: Path, name: str) -> None:
    environment = {name: "0"}
    crash_note.install(tmp_path, {}, environment)
    assert environment == {name: "0"}
