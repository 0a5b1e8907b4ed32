"""What is kept in memory of each watched object: only what `plan` and the conditions look at."""

from collections.abc import Mapping
from typing import Any

from lightkube.utils.quantity import parse_quantity

from superinfer_operator.children import DEPLOYMENT, NodeSeen, Seen
from superinfer_operator.objects.pod import CONTAINER

_METADATA = (
    "name",
    "uid",
    "generation",
    "resourceVersion",
    "labels",
    "annotations",
    "ownerReferences",
    "deletionTimestamp",
)


def trimmed(body: Mapping[str, Any]) -> Seen:
    """Return a child other than a pod."""
    metadata = _metadata(body)
    kept: dict[str, Any] = {"kind": body["kind"], "metadata": metadata}
    if body["kind"] == DEPLOYMENT:
        metadata["managedFields"] = body["metadata"].get("managedFields", [])
        template = body["spec"]["template"].get("metadata", {})
        annotations = dict(template.get("annotations") or {})
        kept["spec"] = {
            "replicas": body["spec"].get("replicas"),
            "template": {"metadata": {"annotations": annotations}},
        }
        kept["status"] = dict(body.get("status") or {})
    return kept


def trimmed_pod(body: Mapping[str, Any]) -> Seen:
    """Return a pod: where it runs, what its runtime container has, and how it fares."""
    spec = body.get("spec", {})
    containers = [each for each in spec.get("containers", ()) if each.get("name") == CONTAINER]
    return {
        "metadata": _metadata(body),
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "containers": [
                {"name": each["name"], "resources": dict(each.get("resources") or {})}
                for each in containers
            ],
        },
        "status": dict(body.get("status") or {}),
    }


def trimmed_node(body: Mapping[str, Any]) -> NodeSeen:
    """Return a node."""
    labels = body["metadata"].get("labels") or {}
    memory = (body.get("status") or {}).get("capacity", {}).get("memory", 0)
    return NodeSeen(
        name=body["metadata"]["name"],
        unschedulable=bool((body.get("spec") or {}).get("unschedulable")),
        gpu_product=labels.get("nvidia.com/gpu.product", ""),
        memory_bytes=int(parse_quantity(str(memory)) or 0),
    )


def _metadata(body: Mapping[str, Any]) -> dict[str, Any]:
    metadata = body["metadata"]
    return {key: metadata[key] for key in _METADATA if metadata.get(key) is not None}
