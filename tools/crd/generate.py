"""Writes the CRD, its chart and its reference page from the models: python tools/crd/generate.py"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from superinfer_contract.quantity import format_bytes
from superinfer_contract.service import API_VERSION, GROUP, KIND
from superinfer_operator.conditions import ConditionType
from superinfer_operator.crd.definition import COLUMNS, NAME, definition, object_schema, walk

ROOT = Path(__file__).parents[2]
CRD_FILE = ROOT / "crds" / f"{GROUP}_{NAME.removesuffix(f'.{GROUP}')}.yaml"
CHART_FILE = ROOT / "deploy" / "charts" / "superinfer-crds" / "templates" / f"{KIND.lower()}.yaml"
REFERENCE_FILE = ROOT / "docs" / "reference" / f"{KIND.lower()}.md"
HEAD = "# Generated from superinfer_contract by tools/crd/generate.py; a test compares.\n"
METADATA = """\
  labels:
    app.kubernetes.io/name: {{ .Chart.Name }}
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/part-of: superinfer
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    app.kubernetes.io/managed-by: {{ .Release.Service }}
    helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""
BOUNDS = {
    "minimum": (">=", ">", "exclusiveMinimum"),
    "maximum": ("<=", "<", "exclusiveMaximum"),
}
SIZES = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} entries",
}


class _Plain(yaml.SafeDumper):
    """YAML without anchors, which people do not expect in a manifest."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_yaml() -> str:
    """Return the CRD as YAML."""
    return HEAD + yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=100)


def chart_template() -> str:
    """Return the CRD as a template of its chart, with Helm's labels and what keeps it."""
    top, braces = f"  name: {NAME}\n", "{{"
    before, found, after = crd_yaml().partition(top)
    if not found or braces in before + after:
        raise ValueError(
            "the CRD has no place for annotations, or text that Helm takes for its own"
        )
    return before + found + METADATA + after


def reference() -> str:
    """Return the reference page."""
    schema = object_schema()
    lines = [
        f"# {KIND}",
        "",
        f"`{API_VERSION}`, short name `sis`, category `superinfer`. Generated from the models of",
        "contract and operator by tools/crd/generate.py; a test compares.",
        "",
        "A *quantity* is a number of bytes or a string such as `512Mi`, `1.5Gi` or `400G`. Unknown",
        "fields are refused. Null is a value only where a field is marked *nullable*; elsewhere",
        "leave the field out.",
        "",
        "## Spec",
        "",
        *_fields(schema["properties"]["spec"], "spec"),
        "",
        "## Rules",
        "",
        "What the API server refuses besides, in CEL:",
        "",
        *_rules(schema),
        "",
        "## Status",
        "",
        *_fields(schema["properties"]["status"], "status"),
        "",
        "## Conditions",
        "",
        *_table(("type", "when True"), ((f"`{each}`", each.meaning) for each in ConditionType)),
        "",
        "## Columns of `kubectl get sis`",
        "",
        *_table(("column", "from", "shown"), _columns()),
        "",
        "## Scale",
        "",
        "`kubectl scale sis NAME --replicas N` sets `spec.replicas`. A HorizontalPodAutoscaler",
        "reads the scale first, which the API server answers only when `spec.replicas` is set.",
    ]
    return "\n".join(lines) + "\n"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _fields(schema: dict[str, Any], top: str) -> Iterator[str]:
    required = {
        f"{path}.{name}" for path, node in walk(schema, top) for name in node.get("required", ())
    }
    rows = (
        (
            f"`{path}`",
            _type(node),
            "required" if path in required else _default(node),
            ", ".join(_bounds(node)),
            node.get("description", ""),
        )
        for path, node in walk(schema, top)
        if path != top and not path.endswith(("[]", "{}"))
    )
    return _table(("field", "type", "default", "bounds", "meaning"), rows)


def _type(node: dict[str, Any]) -> str:
    if node.get("x-kubernetes-int-or-string"):
        name = "quantity"
    elif node.get("x-kubernetes-preserve-unknown-fields"):
        name = "any object"
    elif "additionalProperties" in node:
        name = f"map of {_type(node['additionalProperties'])}"
    elif "items" in node:
        name = f"list of {_type(node['items'])}"
    elif node.get("format") == "date-time":
        name = "time"
    else:
        name = node["type"]
    return f"{name}, nullable" if node.get("nullable") else name


def _default(node: dict[str, Any]) -> str:
    """Return the default; an object's is that of its fields."""
    if "default" not in node or ("properties" in node and not node.get("nullable")):
        return ""
    text = yaml.safe_dump(node["default"], default_flow_style=True, width=1000)
    return f"`{text.removesuffix(chr(10)).removesuffix(chr(10) + '...')}`"


def _bounds(node: dict[str, Any]) -> Iterator[str]:
    if "enum" in node:
        yield "one of " + ", ".join(f"`{value}`" for value in node["enum"])
    is_quantity = node.get("x-kubernetes-int-or-string", False)
    for bound, (inclusive, exclusive, flag) in BOUNDS.items():
        if bound in node:
            value = format_bytes(node[bound]) if is_quantity else node[bound]
            yield f"{exclusive if node.get(flag) else inclusive} {value}"
    if not is_quantity:
        yield from (words.format(node[size]) for size, words in SIZES.items() if size in node)
        if "pattern" in node:
            yield f"`{node['pattern']}`"


def _rules(schema: dict[str, Any]) -> Iterator[str]:
    rows = (
        (f"`{path}`" if path else "", validation["message"], f"`{validation['rule']}`")
        for path, node in walk(schema)
        for validation in node.get("x-kubernetes-validations", ())
    )
    return _table(("at", "message", "rule"), rows)


def _columns() -> Iterator[tuple[str, ...]]:
    for column in COLUMNS:
        shown = "with `-o wide`" if column.get("priority") else "always"
        yield column["name"], f"`{column['jsonPath']}`", shown


if __name__ == "__main__":
    for path, text in (
        (CRD_FILE, crd_yaml()),
        (CHART_FILE, chart_template()),
        (REFERENCE_FILE, reference()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
