"""The service file: what it accepts, what it refuses in which words, and what it becomes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from superinfer_contract import exit_codes
from superinfer_contract.machine import require_memory
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import ConfigError, load_model
from superinfer_operator.cli import main
from superinfer_operator.observe import rules
from superinfer_operator.runtime_file import Wiring, check_runs_here, runtime_config, write_config

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
GIB = 2**30


def wiring(folder: Path) -> Wiring:
    return Wiring("127.0.0.1", 8123, folder, "http://127.0.0.1:4318")


def write(folder: Path, spec: dict[str, Any]) -> Path:
    path = folder / "service.yaml"
    top = {
        "apiVersion": "superinfer.dev/v1alpha1",
        "kind": "SuperInferService",
        "metadata": {"name": "demo", "labels": {"team": "a"}},
        "spec": spec,
    }
    path.write_text(yaml.safe_dump(top))
    return path


def test_there_are_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["chat.yaml", "first.yaml"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_becomes_a_runtime_config(path: Path, tmp_path: Path) -> None:
    service = load_model(SuperInferService, path)
    check_runs_here(service, memory_limit_bytes=480 * GIB)
    config = runtime_config(service, wiring(tmp_path))
    assert [slo_class.name for slo_class in config.slo_classes] == ["chat", "batch"]
    assert set(rules(service.spec).targets) == {"chat", "batch"}


def test_the_written_file_is_what_the_runtime_reads_and_holds_no_secret(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {
            "model": {"uri": "hf://org/name"},
            "engine": {"args": {"dtype": "float32"}},
            "scheduler": {"runQuantumSeconds": 0.25, "betaTtft": 0.4},
            "kvCache": {"dram": {"max": "8Mi", "initial": "4Mi"}, "slab": "1Mi"},
            "server": {"drainSeconds": 3},
        },
    )
    service = load_model(SuperInferService, file)
    path = write_config(service, wiring(tmp_path), "admin secret", "otlp secret")

    config = load_model(RuntimeConfig, path)
    assert config == runtime_config(service, wiring(tmp_path))
    assert config.model == "org/name"
    assert config.scheduler.run_quantum_s == 0.25
    assert config.scheduler.beta_ttft == 0.4
    assert config.server.drain_s == 3
    assert "secret" not in path.read_text()
    assert config.server.admin_token_file is not None
    assert config.telemetry.otlp_token_file is not None
    secrets = (config.server.admin_token_file, config.telemetry.otlp_token_file)
    assert [file.read_text() for file in secrets] == ["admin secret", "otlp secret"]
    assert {file.stat().st_mode & 0o777 for file in (path, *secrets)} == {0o600}


TWO_DEFAULTS = [
    {"name": name, "ttftSeconds": 1, "tbtSeconds": 1, "default": True} for name in ("a", "b")
]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"kvCache": {"dram": {"min": "2Gi", "max": "1Gi"}}}, "spec.kvCache.dram: min"),
        ({"kvCache": {"dram": {"max": "1Mi"}}}, "must hold one slab"),
        (
            {"kvCache": {"dram": {"max": "4Gi", "step": "1500Mi"}}},
            "must be a multiple of slab",
        ),
        ({"kvCache": {"dram": {"max": "many"}}}, "spec.kvCache.dram.max: 'many' is not a byte"),
        ({"sloClasses": TWO_DEFAULTS}, "exactly one SLO class must have default: true, not 2 (a"),
        ({"modle": {"uri": "x"}}, "spec.modle: Extra inputs are not permitted"),
        ({"scheduler": {"run_quantum_s": 1}}, "spec.scheduler.run_quantum_s: Extra inputs"),
        ({"model": {}}, "spec.model: give exactly one of uri and path"),
        ({"model": {"uri": "s3://bucket"}}, "spec.model.uri: 's3://bucket': write org/name"),
    ],
)
def test_a_wrong_spec_is_told_in_one_line(tmp_path: Path, spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(SuperInferService, write(tmp_path, spec))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_up_runs_one_replica_within_the_memory(tmp_path: Path) -> None:
    two = load_model(SuperInferService, write(tmp_path, {"replicas": 2}))
    with pytest.raises(ConfigError, match=r"one process on this machine, not 2; set replicas: 1"):
        check_runs_here(two, 480 * GIB)
    big = load_model(SuperInferService, write(tmp_path, {"kvCache": {"dram": {"max": "64Gi"}}}))
    with pytest.raises(ConfigError, match=r"kvCache.dram.max asks for 64Gi .* allows 32Gi; lower"):
        check_runs_here(big, 32 * GIB)
    require_memory("anything", 32 * GIB, 32 * GIB)


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["superinfer-operator", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_exit_codes_tell_usage_from_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "up") == exit_codes.USAGE
    assert run_main(monkeypatch, "up", "--unknown", "x") == exit_codes.USAGE
    capsys.readouterr()

    assert run_main(monkeypatch, "up", str(tmp_path / "none.yaml")) == exit_codes.CONFIG
    assert "none.yaml: cannot be read: No such file" in capsys.readouterr().err

    broken = tmp_path / "broken.yaml"
    broken.write_text("spec: [")
    assert run_main(monkeypatch, "up", str(broken)) == exit_codes.CONFIG
    assert "broken.yaml:1:8: not valid YAML" in capsys.readouterr().err

    file = write(tmp_path, {})
    events = tmp_path / "none" / "events"
    assert run_main(monkeypatch, "up", str(file), "--json-events", str(events)) == exit_codes.USAGE
