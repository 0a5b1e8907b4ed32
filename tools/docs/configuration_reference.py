"""Writes docs/reference/configuration.md: python tools/docs/configuration_reference.py

The RuntimeConfig field by field. A SuperInferService has a page of its own, made by
tools/crd/generate.py, and so have the commands, made by tools/docs/cli_reference.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from superinfer_contract.quantity import ByteQuantity, format_bytes
from superinfer_contract.runtime_config import RuntimeConfig

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
BOUNDS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "pattern": "matches",
    "max_length": "size <=",
}
HEAD = """\
# Configuration

Generated from the models by tools/docs/configuration_reference.py; a test compares. A *quantity*
is a number of bytes or a string such as `512Mi`, `1.5Gi` or `400G`. Unknown fields are refused.

The fields of a service are in [superinferservice.md](superinferservice.md), the commands' options
in [cli.md](cli.md), the charts' values in `helm show values deploy/charts/superinfer`, and how to
choose in [the guides](../README.md).

## RuntimeConfig

The file of `superinfer serve --config` (JSON, or YAML by its suffix). On Kubernetes, and under
`up`, the operator writes it from the service.

| field | type | default | bounds | meaning |
|---|---|---|---|---|
"""


def reference() -> str:
    """Return the page."""
    return HEAD + "".join(map(_row, _fields(RuntimeConfig)))


def _fields(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        at, kind = f"{path}{name}", field.annotation
        inner = _model_in(kind)
        many = "[]" if inner is not None and kind is not inner and "tuple" in str(kind) else ""
        quantity = "parse_bytes" in str(field.metadata) or ByteQuantity in get_args(kind)
        default = _said(field.get_default(call_default_factory=True), quantity, inner is not None)
        bounds = ", ".join(
            f"`{said} {getattr(each, key)}`"
            for each in field.metadata
            for key, said in BOUNDS.items()
            if getattr(each, key, None) is not None
        )
        inherited = (inner.__doc__ or "").strip().partition("\n")[0] if inner else ""
        meaning = field.description or inherited
        yield f"`{at}{many}`", _type(kind, quantity), default, bounds, meaning
        if inner is not None:
            yield from _fields(inner, f"{at}{many}.")


def _model_in(kind: Any) -> type[BaseModel] | None:
    """The model of a field that holds one, several, or perhaps none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next(filter(None, map(_model_in, get_args(kind))), None)


def _type(kind: Any, quantity: bool) -> str:
    nullable = " or null" if type(None) in get_args(kind) else ""
    inner = next((each for each in get_args(kind) if each is not type(None)), kind)
    if quantity:
        return f"quantity{nullable}"
    if _model_in(kind) is not None:
        return f"{'list' if 'tuple' in str(kind) else 'object'}{nullable}"
    if "Literal" in str(kind):
        return " or ".join(f"`{each}`" for each in get_args(kind))
    if "dict" in str(kind):
        return "mapping"
    kind = inner if nullable else kind
    return {"Path": "path", "SecretStr": "string", "str": "string"}.get(
        kind.__name__, kind.__name__
    ) + nullable


def _said(default: Any, quantity: bool, is_model: bool) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "null"
    if is_model:
        return "as below"
    if default == {}:
        return "empty"
    return f"`{format_bytes(default) if quantity else default}`"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    TARGET.write_text(reference())
