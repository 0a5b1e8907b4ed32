"""What must hold between fields, in CEL: what the models check in Python, told by the API server.

A rule stands at the object that holds all its fields. Null where null means left out is dropped
before rules run, so `has` suffices, but for `kvCache.dram`, where null means something.
"""

from dataclasses import dataclass
from typing import Any

MAX_NAME_LENGTH = 50
HAS_DRAM = "has(self.dram) && self.dram != null"


@dataclass(frozen=True, slots=True)
class Rule:
    """One validation rule at the schema node ``at``, e.g. ``spec.kvCache``."""

    at: str
    rule: str
    message: str
    field: str = ""
    """The field that the message is about, below ``at``."""
    reason: str = "FieldValueInvalid"

    def as_validation(self) -> dict[str, Any]:
        """Return the rule as an entry of ``x-kubernetes-validations``."""
        validation = {"rule": self.rule, "message": self.message, "reason": self.reason}
        return {**validation, "fieldPath": f".{self.field}"} if self.field else validation


def _bytes(field: str) -> str:
    return f"quantity(string(self.{field}))"


def _tier(at: str) -> tuple[Rule, ...]:
    return (
        Rule(
            at,
            f"!{_bytes('min')}.isGreaterThan({_bytes('max')})",
            "min must not exceed max",
            "min",
        ),
        Rule(
            at,
            f"!has(self.initial) || !{_bytes('initial')}.isLessThan({_bytes('min')}) && "
            f"!{_bytes('initial')}.isGreaterThan({_bytes('max')})",
            "initial must lie between min and max",
            "initial",
        ),
    )


RULES = (
    Rule(
        "",
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        f"metadata.name must be at most {MAX_NAME_LENGTH} characters, so that names made of it fit",
    ),
    Rule(
        "",
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must start with a letter and hold only a-z, 0-9 and hyphens",
    ),
    Rule(
        "spec",
        "has(self.model) == has(oldSelf.model) && "
        "(!has(self.model) || self.model == oldSelf.model)",
        "model cannot be changed, added or removed: create another service",
        "model",
        "FieldValueForbidden",
    ),
    Rule(
        "spec",
        "!has(self.replicas) || !has(self.autoscaling) || self.autoscaling.scaler != 'Ladder'",
        "set replicas or autoscaling, not both: the ladder sets the replicas",
        "replicas",
        "FieldValueForbidden",
    ),
    Rule(
        "spec",
        "!has(self.placement) || !has(self.placement.shareGroup) || "
        "has(self.kvCache) && has(self.kvCache.hbm)",
        "placement.shareGroup needs kvCache.hbm: its initial is the share",
        "placement.shareGroup",
    ),
    Rule(
        "spec.sloClasses",
        "self.size() == 1 || self.exists_one(c, c.default)",
        "exactly one SLO class must have default: true; a lone class needs none",
    ),
    Rule("spec.model", "has(self.uri) != has(self.path)", "give exactly one of uri and path"),
    Rule(
        "spec.model.uri",
        "!self.contains('://') || self.matches('^hf://.+')",
        "write org/name or hf://org/name, or use path",
    ),
    Rule(
        "spec.autoscaling",
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not exceed maxReplicas",
        "minReplicas",
    ),
    Rule(
        "spec.rollout",
        "self.maxSurge > 0 || self.maxUnavailable > 0",
        "maxSurge and maxUnavailable must not both be 0",
    ),
    *_tier("spec.kvCache.hbm"),
    *_tier("spec.kvCache.dram"),
    Rule(
        "spec.kvCache",
        f"!({HAS_DRAM}) || !{_bytes('dram.max')}.isLessThan({_bytes('slab')})",
        "dram.max must hold one slab",
        "dram.max",
    ),
    Rule(
        "spec.kvCache",
        f"!({HAS_DRAM}) || !has(self.dram.step) || "
        f"{_bytes('dram.step')}.isInteger() && {_bytes('slab')}.isInteger() && "
        f"{_bytes('dram.step')}.asInteger() % {_bytes('slab')}.asInteger() == 0",
        "dram.step must be a multiple of slab",
        "dram.step",
    ),
    Rule(
        "spec.kvCache",
        f"self.policy != 'FollowBudget' || {HAS_DRAM}",
        "policy FollowBudget needs a DRAM tier: set dram, or policy: Ceiling",
        "policy",
    ),
)

ADDITIONS: dict[str, dict[str, Any]] = {
    "spec.sloClasses": {
        "description": "objectives that are promised to groups of requests",
        "minItems": 1,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    },
    "spec.sloClasses[].name": {
        "description": "what a request names in its header",
        "maxLength": 63,
    },
}
"""What the models check in code although a schema can say it, by the place in the schema."""
