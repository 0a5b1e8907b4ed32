"""What a pod may read about itself: fieldRef and resourceFieldRef."""

import json
import re
from dataclasses import dataclass

from kubelet.api import Object
from kubelet.quantity import in_units

_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


@dataclass(frozen=True)
class Facts:
    """A pod's manifest and what only its kubelet knows."""

    pod: Object
    pod_ip: str
    node_ip: str
    allocatable: dict[str, str]


def field_value(facts: Facts, path: str) -> str:
    """Return what ``fieldPath`` names, as text."""
    meta, spec = facts.pod["metadata"], facts.pod["spec"]
    if keyed := _KEYED.match(path):
        return str(meta.get(keyed[1], {}).get(keyed[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = sorted(meta.get(path.removeprefix("metadata."), {}).items())
        return "\n".join(f"{key}={json.dumps(value)}" for key, value in entries)
    if path.startswith("metadata."):
        return str(meta.get(path.removeprefix("metadata."), ""))
    if path.startswith("spec."):
        return str(spec.get(path.removeprefix("spec."), ""))
    if path in ("status.podIP", "status.podIPs"):
        return facts.pod_ip
    if path in ("status.hostIP", "status.hostIPs"):
        return facts.node_ip
    raise ValueError(f"fieldPath {path!r} is not supported")


def resource_value(facts: Facts, container: Object, reference: Object) -> str:
    """Return a container's limit or request; without a limit, what the node has to give."""
    section, _, name = reference["resource"].partition(".")
    resources = container.get("resources", {})
    quantity = resources.get(section, {}).get(name)
    if quantity is None:
        quantity = facts.allocatable.get(name, "0") if section == "limits" else "0"
    divisor = reference.get("divisor", "1")
    return str(in_units(quantity, 1 if str(divisor) == "0" else divisor))
