"""Whatever stands in a configuration: it is taken, or refused by the one error that people read."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from crd_specs import specs
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.service import API_VERSION, KIND, SuperInferService
from superinfer_contract.validation import ConfigError, load_model
from superinfer_operator.children import Children
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.plan import plan

MODELS = [RuntimeConfig, SuperInferService]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["512Mi", "1e999", "9" * 5000, "١٢", "\0", "0x", ".inf", "2020-13-45", "true", "-0"]
    )
)
YAML_TRAPS = [
    "a: 2020-13-45",
    "a: !!int x",
    "a: !!float x",
    "a: !!bool x",
    "a: !!timestamp x",
    "a: !!binary é",
    "a: !!python/object/apply:os.system [true]",
    "a: 0b",
    "? [a]\n: b",
    "a: &a [*a]",
    "a: *b",
    "<<: x",
    "a: " + "9" * 5000,
    "[" * 2000,
    "a: " + "{a: " * 2000,
    "\0",
    "%YAML 9.9\n---\na: b",
    "a: b\n---\nc: d",
    "\ufeffa: b",
]


def fields_of(model: type[BaseModel]) -> set[str]:
    """The names of ``model``'s fields as they are written, and of those within."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(field.alias or name)
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names |= fields_of(inner)
    return names


def documents(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Trees of the model's own names with values that rarely fit."""
    keys = st.sampled_from(sorted(fields_of(model))) | st.text(max_size=3)
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=15,
    )


DOCUMENTS = st.one_of(
    *(st.tuples(st.just(model), st.dictionaries(st.sampled_from(sorted(fields_of(model))),
                                                documents(model), max_size=6))
      for model in MODELS)
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read(model: type[BaseModel], path: Path) -> None:
    """Read the file; a refusal names it and says something in each line."""
    said = ""
    try:
        load_model(model, path)
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith(str(path))
    assert all(line.strip() for line in said.splitlines())


@settings(max_examples=300)
@given(model=st.sampled_from(MODELS), suffix=st.sampled_from([".json", ".yaml"]), text=st.data())
def test_any_bytes_are_read_or_refused(
    folder: Path, model: type[BaseModel], suffix: str, text: st.DataObject
) -> None:
    path = folder / f"config{suffix}"
    path.write_bytes(text.draw(st.binary(max_size=80) | st.text(max_size=80).map(str.encode)))
    read(model, path)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("text", YAML_TRAPS, ids=lambda text: repr(text[:20]))
def test_what_yaml_stumbles_over_is_refused(
    tmp_path: Path, model: type[BaseModel], text: str
) -> None:
    for name in ("config.yaml", "config.json"):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(ConfigError, match=name):
            load_model(model, path)


@settings(max_examples=400)
@given(document=DOCUMENTS)
def test_any_values_in_known_fields_are_taken_or_refused(
    folder: Path, document: tuple[type[BaseModel], Any]
) -> None:
    model, values = document
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True))
    read(model, path)


@settings(max_examples=150)
@given(spec=specs())
def test_whatever_the_api_server_lets_through_is_planned_or_invalid(spec: dict[str, Any]) -> None:
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "chat", "namespace": "team", "uid": "u-1", "generation": 1},
        "spec": spec,
    }
    try:
        service = SuperInferService.model_validate(body)
    except ValidationError:
        return
    platform = Platform("runtime:1", "superinfer-system", "https://operator:4318", "PEM", True)
    wanted = plan(service, Children({}, {}, {}), platform, Tokens("a", "o", "f"), None)
    assert {each["kind"] for each in wanted.apply} >= {"Secret", "ConfigMap", "Deployment"}
