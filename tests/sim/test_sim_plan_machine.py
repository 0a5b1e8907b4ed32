"""From a service to the machine that is simulated."""

from pathlib import Path
from typing import Any

import pytest
from superinfer_contract.service import ServiceSpec
from superinfer_contract.validation import ConfigError
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import known_model
from superinfer_runtime.sim.planning.machine import (
    DEFAULT_HARDWARE,
    PRESETS,
    base_deployment,
    deployed,
    machine,
    model_shape,
    room_for_kv,
)
from superinfer_runtime.sim.planning.search import Provision

QWEN = known_model("Qwen2.5-7B")


def spec(**fields: Any) -> ServiceSpec:
    return ServiceSpec.model_validate(fields)


def products(*names: str) -> ServiceSpec:
    return spec(placement={"gpuProducts": list(names)})


def test_every_product_has_the_preset_that_it_names() -> None:
    for product, preset in PRESETS.items():
        assert machine(products(product), None) == hardware(preset)
    assert machine(products("Unheard-of", "NVIDIA-H200"), None).name == "h200"
    assert machine(products(), None).name == DEFAULT_HARDWARE
    assert machine(products("NVIDIA-H200"), "h100").name == "h100"


def test_a_models_own_config_goes_before_the_built_in_shape(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        '{"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,'
        ' "intermediate_size": 128, "vocab_size": 1000}'
    )
    service = spec(model={"uri": "Qwen/Qwen2.5-7B-Instruct"})
    assert model_shape(service, None) == QWEN
    assert model_shape(service, config).hidden == 64
    assert model_shape(spec(), config).num_layers == 2
    config.write_text('{"hidden_size": 64, "kv_lora_rank": 512}')
    with pytest.raises(ConfigError, match=r"config\.json: latent attention"):
        model_shape(service, config)


def test_engine_arguments_are_read_in_each_spelling() -> None:
    args = {"--max_model_len": "4096", "block-size": 32, "enable_prefix_caching": False}
    limits = base_deployment(spec(engine={"args": args}), QWEN, hardware("h200")).limits
    assert (limits.max_model_len, limits.block_size) == (4096, 32)
    assert not limits.prefix_caching
    assert limits.async_scheduling
    # As the runtime chooses blocks where the user does not.
    assert base_deployment(spec(), QWEN, hardware("h200")).limits.block_size == 64
    assert base_deployment(spec(policy="stock"), QWEN, hardware("h200")).limits.block_size == 16


def test_the_room_is_what_weights_and_pod_leave() -> None:
    service = spec(
        engine={"args": {"max-model-len": 8000, "tensor-parallel-size": 2}},
        resources={"memory": "50G", "dramCharge": 1.25},
    )
    base = base_deployment(service, QWEN, hardware("h200"))
    room = room_for_kv(service, base)
    assert room.dram_bytes == int((2 * base.hardware.dram_bytes - 50e9) / 1.25)
    assert room.min_hbm_bytes == 125 * 64 * QWEN.kv_bytes_per_token
    assert 0 <= base.max_hbm_blocks * base.block_bytes - room.hbm_bytes < 2**20
    huge = spec(resources={"memory": "900G"})
    assert room_for_kv(huge, base_deployment(huge, QWEN, hardware("h200"))).dram_bytes == 0


def test_a_deployment_has_what_it_is_given() -> None:
    service = spec(scheduler={"alpha": 2.0, "transferBudgetBlocks": 9})
    base = base_deployment(service, QWEN, hardware("h200"))
    given = deployed(base, Provision(3, 2**33, 2**34, None))
    assert given.replicas == 3
    assert given.hbm_blocks == 2**34 // base.block_bytes
    assert given.dram_blocks == 2**33 // base.block_bytes
    assert given.knobs.alpha == 2.0
    assert given.knobs.transfer_budget_blocks is None
    assert deployed(base, Provision(1, 0, 2**34, 9)).knobs.transfer_budget_blocks == 9
