"""From pydantic models to structural OpenAPI v3 schemas, as the API server wants them.

References are inlined, byte quantities become int-or-string, and every level has its default. An
object's default is complete, because the server checks it against the object's rules before it
fills in anything. A field whose default is None gets no default, and null in it means left out: the
server drops such a null. Only where None differs from the default is the field nullable, so that
null survives.
"""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from superinfer_contract.quantity import format_bytes, parse_bytes

Schema = dict[str, Any]
"""A JSON schema, of either kind."""

MAX_INT32 = 2**31 - 1
MAX_QUANTITY_BYTES = 2**50
QUANTITY_PATTERN = (
    r"^([0-9]{1,15}|[0-9]{1,9}(\.[0-9]{1,9})?([kMG]|[KMG]i)|[0-9]{1,6}(\.[0-9]{1,9})?Ti?)$"
)
QUANTITY_MAX_LENGTH = 21
AT_LEAST_ONE_BYTE = {
    "rule": "!quantity(string(self)).isLessThan(quantity('1'))",
    "message": "must be at least one byte",
    "reason": "FieldValueInvalid",
}
PRESERVE: Schema = {"x-kubernetes-preserve-unknown-fields": True}
_QUANTITY = "quantity"
_SAME_IN_BOTH = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)


class _MarkQuantities(GenerateJsonSchema):
    """Pydantic's generator, which would show a `ByteQuantity` as the integer it becomes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Schema:
        inner = super().function_before_schema(schema)
        is_quantity = schema["function"]["function"] is parse_bytes
        return {**inner, "type": _QUANTITY} if is_quantity else inner


def structural(model: type[BaseModel]) -> Schema:
    """Return ``model``'s structural schema.

    Raises:
        ValueError: the model has a union, which a structural schema cannot say.
    """
    source = model.model_json_schema(by_alias=True, schema_generator=_MarkQuantities)
    return _node(source, source.get("$defs", {}))


def _node(source: Schema, definitions: Schema) -> Schema:
    source = _resolved(source, definitions)
    node = {key: source[key] for key in _SAME_IN_BOTH if key in source}
    node |= {key: value for key, value in source.items() if key.startswith("x-kubernetes-")}
    if "description" in node:
        node["description"] = " ".join(node["description"].replace("``", "`").split())
    match source.get("type"):
        case "object":
            node |= _object(source, definitions)
        case "array":
            node["items"] = _node(source["items"], definitions)
        case "integer":
            node |= _bounds(source)
            if "format" not in node:
                node = {"maximum": MAX_INT32} | node | {"format": "int32"}
        case "number":
            node |= _bounds(source)
        case _ if source.get("type") == _QUANTITY:
            node = _quantity(node, source)
        case None:
            node |= PRESERVE
    if source.get("default") is not None:
        node["default"] = _written(node, source["default"])
        if source.get("nullable"):
            node["nullable"] = True
    return node


def _resolved(source: Schema, definitions: Schema) -> Schema:
    """Return ``source`` with its reference and its null taken apart; own words go first."""
    own = {key: value for key, value in source.items() if key not in ("$ref", "anyOf")}
    if "$ref" in source:
        target = definitions[source["$ref"].rsplit("/", 1)[-1]]
        return _resolved(target, definitions) | own
    if "anyOf" in source:
        others = [branch for branch in source["anyOf"] if branch != {"type": "null"}]
        if len(others) != 1:
            raise ValueError(f"a structural schema has no union: {source['anyOf']}")
        return _resolved(others[0], definitions) | own | {"nullable": True}
    return own


def _object(source: Schema, definitions: Schema) -> Schema:
    if "properties" in source:
        properties = source["properties"].items()
        return {"properties": {name: _node(field, definitions) for name, field in properties}}
    values = _node(source["additionalProperties"], definitions)
    return PRESERVE if values == PRESERVE else {"additionalProperties": values}


def _bounds(source: Schema) -> Schema:
    """OpenAPI v3.0 says with a flag that a bound itself is out."""
    bounds: Schema = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if bound in source:
            bounds[bound] = source[bound]
        elif exclusive in source:
            bounds |= {bound: source[exclusive], exclusive: True}
    return bounds


def _quantity(node: Schema, source: Schema) -> Schema:
    positive = source.get("exclusiveMinimum", source.get("gt")) == 0
    return {key: value for key, value in node.items() if key != "type"} | {
        "x-kubernetes-int-or-string": True,
        "minimum": 1 if positive else 0,
        "maximum": MAX_QUANTITY_BYTES,
        "pattern": QUANTITY_PATTERN,
        "maxLength": QUANTITY_MAX_LENGTH,
        **({"x-kubernetes-validations": [AT_LEAST_ONE_BYTE]} if positive else {}),
    }


def _written(node: Schema, value: Any) -> Any:
    """Return the default ``value`` as a person writes it, without fields that are left out."""
    if "properties" in node:
        fields = node["properties"]
        return {
            name: _written(fields[name], inner)
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_written(node["items"], item) for item in value]
    if node.get("x-kubernetes-int-or-string"):
        text = format_bytes(value)
        return text if value and parse_bytes(text) == value else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
