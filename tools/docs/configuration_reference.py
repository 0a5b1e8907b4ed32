"""Writes docs/reference/configuration.md: python tools/docs/configuration_reference.py

The RuntimeConfig field by field, and the options of the operator's commands. A SuperInferService
has a page of its own, made by tools/crd/generate.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from superinfer_contract.quantity import ByteQuantity, format_bytes
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_operator.cli import app

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

The fields of a service are in [superinferservice.md](superinferservice.md), the charts' values in
`helm show values deploy/charts/superinfer`, and how to choose in [the guides](../README.md).

## RuntimeConfig

The file of `superinfer serve --config` (JSON, or YAML by its suffix). On Kubernetes, and under
`up`, the operator writes it from the service.

| field | type | default | bounds | meaning |
|---|---|---|---|---|
"""


def reference() -> str:
    """Return the page."""
    page = HEAD + "".join(map(_row, _fields(RuntimeConfig)))
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        page += f"\n## `superinfer-operator {name}`\n\n{command.help}\n\n"
        page += "| option | type | default | bounds | meaning |\n|---|---|---|---|---|\n"
        page += "".join(_row(_option(each)) for each in command.params if not each.hidden)
    return page


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


def _option(option: Any) -> tuple[str, ...]:
    name = option.opts[0] if option.param_type_name == "option" else option.name.upper()
    kind = _type(option.type_descriptor.annotation, False).removesuffix(" or null")
    bounds = [
        f"`{said} {getattr(option, key)}`"
        for key, said in (("min", ">="), ("max", "<="))
        if getattr(option, key, None) is not None
    ]
    default = "" if option.default is None else f"`{option.default}`"
    if option.required:
        default = "required"
    meaning = (option.help or "").strip()
    if option.envvar:
        meaning += f" Also `{option.envvar}`."
    if option.nargs == -1 or getattr(option, "multiple", False):
        kind = "string, repeatable"
    return f"`{name}`", kind, default, ", ".join(bounds), meaning


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    TARGET.write_text(reference())
