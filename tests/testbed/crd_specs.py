"""What the CRD's schema accepts: any spec (the rules between fields aside), and a full status."""

from typing import Any

from hypothesis import strategies as st
from superinfer_contract.quantity import parse_bytes
from superinfer_operator.crd.definition import object_schema
from superinfer_operator.crd.translate import Schema

SPEC_SCHEMA: Schema = object_schema()["properties"]["spec"]
MANY = 1e6
SOME_ITEMS = 3
SHORT = 12
SUFFIXES = ("k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti")
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
URIS = st.sampled_from(["Qwen/Qwen2.5-32B-Instruct", "hf://org/name", "s3://bucket/key"])
ATTAINED = {"good": 97, "total": 100, "attainment": 0.97}
TIER = {
    "desiredBytes": 2**36,
    "allocatedBytes": 2**36,
    "inUseBytes": 2**34,
    "minBytes": 0,
    "maxBytes": 2**38,
    "summary": "16Gi of 64Gi",
}
NOW = "2030-01-01T00:00:00Z"
FULL_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": type_,
            "status": "True",
            "reason": "AllReplicasReady",
            "message": "all 2 replicas serve the current revision",
            "observedGeneration": 1,
            "lastTransitionTime": NOW,
        }
        for type_ in ("Ready", "Servable")
    ],
    "replicas": 2,
    "readyReplicas": 2,
    "updatedReplicas": 2,
    "selector": "superinfer.dev/service=full",
    "url": "http://full.default.svc:8000",
    "slo": [
        {"class": "chat", "target": 0.95, "ttft": ATTAINED, "tbt": ATTAINED, "joint": ATTAINED}
    ],
    "attainment": "chat 97%",
    "kvCache": {"hbm": TIER, "dram": TIER, "lastResizeTime": NOW},
    "classShares": {"chat": 1, "batch": 0.5},
    "lastDecision": {"rung": "GrowDRAM", "reason": "chat is late", "outcome": "sent", "time": NOW},
    "wish": {
        "hbmBytes": 2**34,
        "dramBytes": 2**36,
        "classShares": {"batch": 0.5},
        "replicas": 2,
    },
    "pods": [{"name": "full-0", "dramAllocatedBytes": 2**36, "state": "Ready", "message": "none"}],
}
"""A status in which every field is set."""


def quantities() -> st.SearchStrategy[int | str]:
    """Byte quantities near each other, so that the order of two of them is open."""
    whole = st.integers(0, 9)
    text = st.builds("{}{}{}".format, whole, st.sampled_from(["", ".5"]), st.sampled_from(SUFFIXES))
    return st.integers(0, 2**33) | whole.map(str) | text


def values(node: Schema) -> st.SearchStrategy[Any]:
    """Return what ``node`` accepts, rules aside."""
    accepted = _values(node)
    return st.none() | accepted if node.get("nullable") else accepted


def _values(node: Schema) -> st.SearchStrategy[Any]:
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return quantities().filter(lambda size: parse_bytes(size) >= node["minimum"])
    if node.get("x-kubernetes-preserve-unknown-fields"):
        return st.dictionaries(st.text(max_size=SHORT), LEAVES, max_size=SOME_ITEMS)
    match node["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(node["minimum"], node["maximum"])
        case "number":
            return st.floats(
                node.get("minimum", -MANY),
                node.get("maximum", MANY),
                exclude_min=node.get("exclusiveMinimum", False),
                exclude_max=node.get("exclusiveMaximum", False),
            )
        case "string" if "pattern" in node:
            longest = node.get("maxLength", SHORT)
            return st.from_regex(node["pattern"], fullmatch=True).filter(
                lambda text: len(text) <= longest
            )
        case "string":
            text = st.text(st.characters(codec="ascii"), min_size=1, max_size=SHORT)
            return text | URIS
        case "array":
            unique = node.get("x-kubernetes-list-map-keys")
            return st.lists(
                values(node["items"]),
                min_size=node.get("minItems", 0),
                max_size=SOME_ITEMS,
                unique_by=(lambda item: item[unique[0]]) if unique else None,
            )
        case _ if "additionalProperties" in node:
            names = st.text(st.characters(codec="ascii"), min_size=1, max_size=SHORT)
            return st.dictionaries(names, values(node["additionalProperties"]), max_size=SOME_ITEMS)
    fields = {name: values(field) for name, field in node["properties"].items()}
    required = {name: fields.pop(name) for name in node.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def specs() -> st.SearchStrategy[dict[str, Any]]:
    """Return specs that the schema accepts."""
    return values(SPEC_SCHEMA)
