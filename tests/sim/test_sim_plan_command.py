"""`superinfer plan` as its users call it, with short loads and the real simulator."""

import json
from pathlib import Path
from typing import Any

import pytest
from superinfer_contract import exit_codes
from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import load_model
from superinfer_runtime.cli import app
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.slow

SERVICE = """\
# A service of two classes.
apiVersion: superinfer.dev/v1alpha1
kind: SuperInferService
metadata: {name: shop}
spec:
  model: {uri: Qwen/Qwen2.5-7B-Instruct}
  engine:
    args: {max-model-len: 8192}
  sloClasses:
    - {name: chat, ttftSeconds: 5, tbtSeconds: 0.1, default: true}
    - {name: batch, ttftSeconds: 60, tbtSeconds: 1, target: 0.8}
  kvCache:
    hbm: {max: 32Gi}  # all there is
    dram: {min: 8Gi, max: 64Gi, step: 8Gi}
"""
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{second:02}.5000000,{300 + 40 * second},60\n" for second in range(40)
)


@pytest.fixture
def service(tmp_path: Path) -> Path:
    path = tmp_path / "service.yaml"
    path.write_text(SERVICE)
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    return path


def plan(*options: str | Path) -> Result:
    return CliRunner().invoke(app, ["plan", *map(str, options)])


def written(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_generous_service_meets_its_targets_and_is_made_cheaper(
    service: Path, trace: Path, tmp_path: Path
) -> None:
    options = (service, "--trace", trace, "--slo-share", "chat:3", "--slo-share", "batch:1")
    first = plan(*options, "--json", tmp_path / "plan.json", "--write")
    assert first.exit_code == exit_codes.OK, first.output
    found = written(tmp_path / "plan.json")
    assert found["setting"]["hardware"] == "gh200-96-480"
    assert found["meets_targets_as_written"]
    assert found["recommendation_meets_targets"]
    assert found["diff"] in first.stdout
    classes = found["recommended"]["classes"]
    assert classes["chat"]["requests"] + classes["batch"]["requests"] == 40
    assert any("extrapolated from an H200" in note for note in found["notes"])
    spec = load_model(SuperInferService, service).spec
    assert spec.kv_cache.hbm is not None
    assert spec.kv_cache.dram is not None
    assert spec.kv_cache.hbm.max == found["recommended"]["hbm_bytes"] < 32 * 2**30
    assert spec.kv_cache.dram.max == found["recommended"]["dram_bytes"] == 8 * 2**30
    assert "# all there is" in service.read_text()

    again = plan(*options, "--json", tmp_path / "again.json")
    assert again.exit_code == exit_codes.OK
    assert written(tmp_path / "again.json")["diff"] == ""
    assert written(tmp_path / "again.json")["recommended"] == found["recommended"]


def test_the_same_seed_gives_the_same_plan(service: Path, tmp_path: Path) -> None:
    load = ("--scenario", "bursty", "--rate", "3", "--duration", "20", "--seed", "5")
    plans = []
    for name in ("one.json", "other.json"):
        plan(service, *load, "--json", tmp_path / name)
        plans.append((tmp_path / name).read_bytes())
    assert plans[0] == plans[1]
    notes = json.loads(plans[0])["notes"]
    assert any("No request of the load is of class batch" in note for note in notes)


def test_a_service_that_misses_its_targets_has_its_own_exit_code(
    service: Path, trace: Path, tmp_path: Path
) -> None:
    service.write_text(SERVICE.replace("spec:", "spec:\n  replicas: 0"))
    options = (service, "--trace", trace, "--json", tmp_path / "plan.json")
    missed = plan(*options)
    assert missed.exit_code == exit_codes.TARGETS_MISSED, missed.output
    found = written(tmp_path / "plan.json")
    assert found["as_written"] is None
    assert found["recommendation_meets_targets"]
    assert "+  replicas: 1" in found["diff"]
    assert service.read_text().count("replicas: 0") == 1
    # Written, the file meets them.
    assert plan(*options, "--write").exit_code == exit_codes.OK
    assert plan(*options).exit_code == exit_codes.OK


def test_targets_that_no_budget_meets_are_told_and_nothing_is_recommended(
    service: Path, trace: Path, tmp_path: Path
) -> None:
    text = SERVICE.replace("ttftSeconds: 5", "ttftSeconds: 0.001")
    service.write_text(text)
    missed = plan(
        *(service, "--trace", trace, "--max-replicas", "2"),
        *("--json", tmp_path / "plan.json", "--write"),
    )
    assert missed.exit_code == exit_codes.TARGETS_MISSED
    assert "nothing within the bounds" in missed.stdout
    assert written(tmp_path / "plan.json")["diff"] == ""
    assert service.read_text() == text


def test_line_ends_stay(service: Path, trace: Path) -> None:
    service.write_bytes(SERVICE.replace("\n", "\r\n").encode())
    assert plan(service, "--trace", trace, "--write").exit_code == exit_codes.OK
    new = service.read_bytes()
    assert new != SERVICE.replace("\n", "\r\n").encode()
    assert new.count(b"\r\n") == new.count(b"\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give exactly one of them"),
        (("--trace", "t.csv", "--scenario", "bursty"), "give exactly one of them"),
        (("--scenario", "bursty"), "needs --rate"),
        (("--scenario", "bursty", "--rate", "0"), "must be above 0"),
        (("--trace", "t.csv", "--slo-share", "gold:1"), "the service has the classes chat, batch"),
        (("--trace", "t.csv", "--slo-share", "chat:most"), "is not NAME:SHARE"),
        (("--trace", "t.csv", "--json", "/nowhere/at/all.json"), "cannot write"),
    ],
)
def test_wrong_options_are_told_at_once(
    service: Path, options: tuple[str, ...], message: str
) -> None:
    result = plan(service, *options)
    assert result.exit_code == exit_codes.USAGE
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        ("spec:", "specs:", (), "specs: Extra inputs are not permitted"),
        ("Qwen/Qwen2.5-7B-Instruct", "someone/else", (), "no built-in model 'someone/else'"),
        ("  model: {uri: Qwen/Qwen2.5-7B-Instruct}\n", "", (), "tiny model is not simulated"),
        ("max-model-len: 8192", "quantization: fp8", (), 'quantization: "fp8" is not simulated'),
        ("max-model-len: 8192", "block_size: many", (), "block-size: 'many' is not a number"),
        ("max-model-len: 8192", "tensor-parallel-size: 4", (), "has 1 GPUs a replica, not 4"),
        ("max-model-len: 8192", "max-model-len: 9000000", (), "lower max-model-len"),
        ("7B", "32B", ("--hardware", "h100", "--model-config", "no.json"), "cannot be read"),
        ("2.5-7B", "2.5-32B", ("--hardware", "abacus"), "unknown hardware 'abacus'"),
        ("Qwen/Qwen2.5-7B", "meta-llama/Llama-3.1-70B", (), "leaves no HBM for KV"),
    ],
)
def test_a_service_that_cannot_be_planned_is_refused(
    service: Path, trace: Path, old: str, new: str, options: tuple[str, ...], message: str
) -> None:
    assert old in SERVICE
    service.write_text(SERVICE.replace(old, new))
    result = plan(service, "--trace", trace, *options)
    assert result.exit_code == exit_codes.CONFIG, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trace", "missing.csv"), "missing.csv"),
        (("--scenario", "rush hour", "--rate", "1"), "unknown scenario 'rush hour'"),
        (("--scenario", "short-chat", "--rate", "1e-9"), "no request arrives"),
    ],
)
def test_a_load_that_is_not_there_is_refused(
    service: Path, options: tuple[str, ...], message: str
) -> None:
    result = plan(service, *options)
    assert result.exit_code == exit_codes.CONFIG
    assert message in result.stderr


def test_prompts_that_vllm_refuses_are_left_out_and_told(
    service: Path, trace: Path, tmp_path: Path
) -> None:
    service.write_text(SERVICE.replace("max-model-len: 8192", "max-model-len: 1000"))
    plan(service, "--trace", trace, "--json", tmp_path / "plan.json")
    found = written(tmp_path / "plan.json")
    too_long = sum(300 + 40 * second >= 1000 for second in range(40))
    assert found["setting"]["requests"] == 40 - too_long
    assert any(note.startswith(f"{too_long} of 40 requests") for note in found["notes"])
