"""A service's objects as the watches last saw them: what `plan` compares its wishes with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Seen = Mapping[str, Any]
"""An object as it stands in the API, in the parts that are kept."""

DEPLOYMENT = "Deployment"
CONFIG_MAP = "ConfigMap"
NETWORK_POLICY = "NetworkPolicy"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What matters of a node that runs one of our pods."""

    name: str
    unschedulable: bool = False
    gpu_product: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Children:
    """Objects by (kind, name), pods by name, and the nodes that the pods run on."""

    objects: Mapping[tuple[str, str], Seen] = field(default_factory=dict)
    pods: Mapping[str, Seen] = field(default_factory=dict)
    nodes: Mapping[str, NodeSeen] = field(default_factory=dict)

    def named(self, kind: str, name: str) -> Seen | None:
        return self.objects.get((kind, name))

    def names(self, kind: str) -> list[str]:
        return sorted(name for seen_kind, name in self.objects if seen_kind == kind)

    def is_on_cordoned_node(self, pod: Seen) -> bool:
        node = self.nodes.get(pod.get("spec", {}).get("nodeName", ""))
        return node is not None and node.unschedulable


def is_terminating(pod: Seen) -> bool:
    return bool(pod.get("metadata", {}).get("deletionTimestamp"))


def has_ended(pod: Seen) -> bool:
    """Whether the pod will never run again: evicted, or refused by its node."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def is_ready(pod: Seen) -> bool:
    """Whether the pod takes requests; one that ends does not, whatever its condition says."""
    return not is_terminating(pod) and any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in pod.get("status", {}).get("conditions", ())
    )


def template_annotation(deployment: Seen | None, name: str) -> str | None:
    """Return an annotation of the Deployment's pod template."""
    template = (deployment or {}).get("spec", {}).get("template", {})
    value = template.get("metadata", {}).get("annotations", {}).get(name)
    return None if value is None else str(value)
