"""The whole CustomResourceDefinition, put together."""

from collections.abc import Iterator
from typing import Any

from superinfer_contract.service import GROUP, KIND, VERSION, ServiceSpec

from superinfer_operator.crd.rules import ADDITIONS, RULES
from superinfer_operator.crd.status import ServiceStatus
from superinfer_operator.crd.translate import Schema, structural

PLURAL = KIND.lower() + "s"
NAME = f"{PLURAL}.{GROUP}"
WIDE = 1  # priority of a column that only `-o wide` shows


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


COLUMNS: tuple[dict[str, Any], ...] = (
    {"name": "Model", "type": "string", "jsonPath": ".spec.model['uri','path']"},
    {"name": "Ready", "type": "string", "jsonPath": _condition("Ready", "status")},
    {"name": "Servable", "type": "string", "jsonPath": _condition("Servable", "status")},
    {"name": "Replicas", "type": "integer", "jsonPath": ".status.replicas"},
    {"name": "KV-DRAM", "type": "string", "jsonPath": ".status.kvCache.dram.summary"},
    {"name": "Rung", "type": "string", "jsonPath": ".status.lastDecision.rung"},
    {
        "name": "Attainment",
        "type": "string",
        "jsonPath": ".status.attainment",
        "priority": WIDE,
    },
    {
        "name": "Reason",
        "type": "string",
        "jsonPath": _condition("Ready", "reason"),
        "priority": WIDE,
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["sis"],
                "categories": ["superinfer"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": object_schema()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": list(COLUMNS),
                }
            ],
        },
    }


def object_schema() -> Schema:
    """Return the schema of a SuperInferService with all its rules."""
    schema: Schema = {
        "type": "object",
        "description": "A model that is served within SLOs, with KV memory in HBM and DRAM.",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(ServiceSpec) | {"default": {}},
            "status": structural(ServiceStatus),
        },
    }
    for at, said in ADDITIONS.items():
        find(schema, at).update(said)
    for rule in RULES:
        validations = find(schema, rule.at).setdefault("x-kubernetes-validations", [])
        validations.append(rule.as_validation())
    return schema


def find(schema: Schema, at: str) -> Schema:
    """Return the part of ``schema`` at e.g. ``spec.sloClasses[].name``; itself for ``""``."""
    return next(node for path, node in walk(schema) if path == at)


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every part of ``schema`` with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from walk(field, f"{path}.{name}" if path else name)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")
