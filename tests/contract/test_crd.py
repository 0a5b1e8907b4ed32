"""The CRD against the models it is made from: current, bounded, and no wider than they are.

What needs an API server (that it takes the CRD, that its rules refuse) is in tests/cluster.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from crd_broken import bound_breakers
from crd_specs import FULL_STATUS, SPEC_SCHEMA, specs
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft4Validator
from pydantic import BaseModel, ValidationError
from superinfer_contract.service import ServiceSpec, SuperInferService
from superinfer_contract.validation import load_mapping, load_model
from superinfer_operator.crd.definition import object_schema, walk
from superinfer_operator.crd.status import ServiceStatus
from superinfer_operator.crd.translate import structural

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
MAX_CRD_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools/crd/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_json_schema(node: dict[str, Any]) -> dict[str, Any]:
    """Say a structural schema in JSON schema draft 4, which has its exclusive bounds."""
    said = dict(node)
    if node.get("x-kubernetes-int-or-string"):
        said["type"] = ["integer", "string"]
    if "properties" in node:
        fields = node["properties"].items()
        said["properties"] = {name: as_json_schema(field) for name, field in fields}
        said["additionalProperties"] = False
    for inner in ("items", "additionalProperties"):
        if inner in node:
            said[inner] = as_json_schema(node[inner])
    if node.get("nullable"):
        said["type"] = [said["type"], "null"]
    return said


def problems(spec: dict[str, Any]) -> list[str]:
    """Return the kinds of what the model finds wrong."""
    try:
        ServiceSpec.model_validate(spec)
    except ValidationError as error:
        return [problem["type"] for problem in error.errors()]
    return []


def test_the_files_are_current(generate: ModuleType) -> None:
    assert generate.CRD_FILE.read_text() == generate.crd_yaml(), "run tools/crd/generate.py"
    assert generate.CHART_FILE.read_text() == generate.chart_template(), "run tools/crd/generate.py"
    assert generate.REFERENCE_FILE.read_text() == generate.reference(), "run tools/crd/generate.py"


def test_the_crd_fits_into_an_annotation(generate: ModuleType) -> None:
    assert len(generate.CRD_FILE.read_bytes()) < MAX_CRD_BYTES


def test_the_reference_names_every_field_and_rule(generate: ModuleType) -> None:
    page = generate.reference().replace("\\|", "|")
    for path, node in walk(object_schema()):
        if path.startswith(("spec.", "status.")) and not path.endswith(("[]", "{}")):
            assert f"`{path}`" in page
        for validation in node.get("x-kubernetes-validations", ()):
            assert validation["message"] in page
            assert validation["rule"] in page


def test_every_field_is_described() -> None:
    described = {path for path, node in walk(object_schema()) if node.get("description")}
    fields = {path for path, _ in walk(object_schema()) if not path.endswith(("[]", "{}"))}
    assert fields - described == {"apiVersion", "kind", "metadata"}


def test_every_string_list_and_map_is_bounded() -> None:
    """Without bounds the server reckons with the worst and refuses rules as too costly."""
    for path, node in walk(object_schema()):
        if node.get("type") == "string" and path not in ("apiVersion", "kind"):
            assert {"enum", "pattern", "maxLength", "format"} & set(node), path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_fits_the_schema(path: Path) -> None:
    Draft4Validator(as_json_schema(SPEC_SCHEMA)).validate(load_mapping(path)["spec"])
    load_model(SuperInferService, path)


def test_the_schema_s_defaults_are_the_model_s() -> None:
    defaults = {
        name: field["default"]
        for name, field in SPEC_SCHEMA["properties"].items()
        if "default" in field
    }
    Draft4Validator(as_json_schema(SPEC_SCHEMA)).validate(defaults)
    assert ServiceSpec.model_validate(defaults) == ServiceSpec()


@given(specs())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_the_schema_accepts_the_model_refuses_for_a_rule_only(spec: dict[str, Any]) -> None:
    """A ``value_error`` is raised by a validator, and each validator has its rule in CEL."""
    Draft4Validator(as_json_schema(SPEC_SCHEMA)).validate(spec)
    assert set(problems(spec)) <= {"value_error"}


@pytest.mark.parametrize(
    ("path", "keyword", "spec"),
    [pytest.param(*breaker, id=f"{breaker[0]}-{breaker[1]}") for breaker in bound_breakers()],
)
def test_breaking_a_bound_breaks_the_schema(path: str, keyword: str, spec: dict[str, Any]) -> None:
    assert not Draft4Validator(as_json_schema(SPEC_SCHEMA)).is_valid(spec)


def test_a_union_is_refused_not_guessed() -> None:
    class Either(BaseModel):
        either: int | str

    with pytest.raises(ValueError, match="no union"):
        structural(Either)


def test_a_full_status_fits_its_schema() -> None:
    schema = as_json_schema(object_schema()["properties"]["status"])
    Draft4Validator(schema).validate(FULL_STATUS)
    assert set(FULL_STATUS) == set(schema["properties"])
    status = ServiceStatus.model_validate(FULL_STATUS)
    assert status.model_dump(mode="json", by_alias=True) == FULL_STATUS
