"""Services that the CRD refuses: for each rule one that breaks it, and for each bound.

A spec breaks nothing but what it is there for, so that the answer can only be about that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from crd_specs import SPEC_SCHEMA
from superinfer_operator.crd.definition import walk
from superinfer_operator.crd.translate import Schema

TIER = {"max": "4Gi"}
CLASS = {"ttftSeconds": 1, "tbtSeconds": 1}


@dataclass(frozen=True, slots=True)
class Broken:
    """A service that breaks one rule, and what the server is to say: where, and which message."""

    at: str
    message: str
    spec: dict[str, Any]
    name: str = ""

    @property
    def rule(self) -> tuple[str, str]:
        return self.at, self.message


def tier(tier: str, **fields: Any) -> dict[str, Any]:
    return {"kvCache": {tier: {**TIER, **fields}}}


BELOW_ONE = "must be at least one byte"
ORDERED = "min must not exceed max"
BETWEEN = "initial must lie between min and max"
LENGTH = "metadata.name must be at most 50 characters, so that names made of it fit"
LETTERS = "metadata.name must start with a letter and hold only a-z, 0-9 and hyphens"
ONE_SCALER = "set replicas or autoscaling, not both: the ladder sets the replicas"
SHARE = "placement.shareGroup needs kvCache.hbm: its initial is the share"
ONE_DEFAULT = "exactly one SLO class must have default: true; a lone class needs none"
ONE_PLACE = "give exactly one of uri and path"
SCHEME = "write org/name or hf://org/name, or use path"
WHOLE_SLABS = "dram.step must be a multiple of slab"
IMMUTABLE = "model cannot be changed, added or removed: create another service"

BROKEN = [
    Broken("", LENGTH, {}, "a" * 51),
    Broken("", LETTERS, {}, "1a"),
    Broken("", LETTERS, {}, "a.b"),
    Broken("spec", ONE_SCALER, {"replicas": 1, "autoscaling": {}}),
    Broken("spec", ONE_SCALER, {"replicas": 1, "autoscaling": {"scaler": "Ladder"}}),
    Broken("spec", SHARE, {"placement": {"shareGroup": "a"}}),
    Broken("spec.sloClasses", ONE_DEFAULT, {"sloClasses": [{"name": n, **CLASS} for n in "ab"]}),
    Broken(
        "spec.sloClasses",
        ONE_DEFAULT,
        {"sloClasses": [{"name": n, "default": True, **CLASS} for n in "ab"]},
    ),
    Broken("spec.model", ONE_PLACE, {"model": {}}),
    Broken("spec.model", ONE_PLACE, {"model": {"uri": "org/name", "path": "/models/a"}}),
    Broken("spec.model.uri", SCHEME, {"model": {"uri": "s3://bucket/model"}}),
    Broken("spec.model.uri", SCHEME, {"model": {"uri": "hf://"}}),
    Broken(
        "spec.autoscaling",
        "minReplicas must not exceed maxReplicas",
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
    ),
    Broken(
        "spec.rollout",
        "maxSurge and maxUnavailable must not both be 0",
        {"rollout": {"maxSurge": 0}},
    ),
    *(
        broken
        for name in ("hbm", "dram")
        for broken in (
            Broken(f"spec.kvCache.{name}", ORDERED, tier(name, min="4097Mi")),
            Broken(f"spec.kvCache.{name}", ORDERED, tier(name, min=2**32 + 1)),
            Broken(f"spec.kvCache.{name}", BETWEEN, tier(name, min="2Gi", initial="1.9Gi")),
            Broken(f"spec.kvCache.{name}", BETWEEN, tier(name, initial="4.1Gi")),
            Broken(f"spec.kvCache.{name}.max", BELOW_ONE, tier(name, max="0Gi")),
            Broken(f"spec.kvCache.{name}.step", BELOW_ONE, tier(name, step="0.0001k")),
        )
    ),
    Broken("spec.server.maxBody", BELOW_ONE, {"server": {"maxBody": "0"}}),
    Broken("spec.kvCache.slab", BELOW_ONE, {"kvCache": {"slab": "0"}}),
    Broken("spec.resources.memory", BELOW_ONE, {"resources": {"memory": "0.0Ti"}}),
    Broken("spec.kvCache", "dram.max must hold one slab", {"kvCache": {"slab": "5Gi"}}),
    Broken("spec.kvCache", WHOLE_SLABS, tier("dram", step="1500Mi")),
    Broken("spec.kvCache", WHOLE_SLABS, tier("dram", step="1.1Gi")),
    Broken(
        "spec.kvCache",
        "policy FollowBudget needs a DRAM tier: set dram, or policy: Ceiling",
        {"kvCache": {"dram": None, "policy": "FollowBudget"}},
    ),
]

PARENTS: dict[str, Any] = {
    "spec.sloClasses[]": {"name": "a", "ttftSeconds": 1, "tbtSeconds": 1},
    "spec.image.pullSecrets[]": {"name": "a"},
    "spec.server.apiKeySecretRef": {"name": "a"},
    "spec.server.tls": {"secretName": "a"},
    "spec.kvCache.hbm": {"max": "4Gi"},
    "spec.kvCache.dram": {"max": "4Gi"},
}
"""What an object needs besides the field that is tried."""


WRONG_TYPE = {"string": 5, "integer": "x", "number": "x", "boolean": "x", "object": 5, "array": 5}


def bound_breakers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield for each bound of the schema its path, its keyword, and a spec that breaks just it."""
    for path, node in walk(SPEC_SCHEMA, "spec"):
        if path == "spec":
            continue
        if "type" in node or node.get("x-kubernetes-int-or-string"):
            yield path, "type", _spec_with(path, WRONG_TYPE.get(node.get("type", ""), 1.5))
        for name in node.get("required", ()):
            parent = {key: value for key, value in PARENTS[path].items() if key != name}
            yield f"{path}.{name}", "required", _spec_with(path, parent)
        for keyword in BREAKERS:
            if keyword in node:
                yield path, keyword, _spec_with(path, BREAKERS[keyword](node))


def _below(node: Schema) -> Any:
    return node["minimum"] - (0 if node.get("exclusiveMinimum") else 1)


def _above(node: Schema) -> Any:
    return node["maximum"] + (0 if node.get("exclusiveMaximum") else 1)


def _item(node: Schema) -> Any:
    return "a" if node["items"].get("type") == "string" else {"name": "a"}


BREAKERS: dict[str, Callable[[Schema], Any]] = {
    "minimum": _below,
    "maximum": _above,
    "enum": lambda node: "Neither",
    "pattern": lambda node: "-!-",
    "minLength": lambda node: "",
    "maxLength": lambda node: "a" * (node["maxLength"] + 1),
    "minItems": lambda node: [],
    "maxItems": lambda node: [_item(node)] * (node["maxItems"] + 1),
    "maxProperties": lambda node: {f"a{i}": "" for i in range(node["maxProperties"] + 1)},
}


def _spec_with(path: str, value: Any) -> dict[str, Any]:
    """Return the spec that holds ``value`` at ``path``."""
    parents = path.split(".")[1:]
    for depth in range(len(parents), 0, -1):
        name = parents[depth - 1]
        if name.endswith("[]"):
            value = [value]
        elif name.endswith("{}"):
            value = {"a": value}
        at = ".".join(["spec", *parents[: depth - 1]])
        value = {**PARENTS.get(at, {}), name.rstrip("[]{}"): value}
    assert isinstance(value, dict)
    return value
