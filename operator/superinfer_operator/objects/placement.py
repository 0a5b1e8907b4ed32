"""On which nodes pods may run: arm64 with a Hopper GPU is a Grace Hopper Superchip."""

from typing import Any

from superinfer_contract.service import SuperInferService
from superinfer_contract.service_pod import PlacementSpec

from superinfer_operator.objects.naming import SHARE_GROUP_LABEL, Object, selector_labels

HOSTNAME = "kubernetes.io/hostname"


def placement(service: SuperInferService) -> Object:
    """Return the pod spec's fields that decide on its node."""
    spec = service.spec.placement
    affinity: Object = {}
    if terms := _node_terms(spec):
        affinity["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": terms}]
            }
        }
    if spec.share_group is not None:
        affinity["podAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {SHARE_GROUP_LABEL: spec.share_group}},
                    "topologyKey": HOSTNAME,
                }
            ]
        }
    fields: dict[str, Any] = {
        "affinity": affinity,
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [dict(toleration) for toleration in spec.tolerations],
        "runtimeClassName": spec.runtime_class_name,
        "priorityClassName": spec.priority_class_name,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": HOSTNAME,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector_labels(service)},
            }
        ],
    }
    return {key: value for key, value in fields.items() if value}


def _node_terms(spec: PlacementSpec) -> list[Object]:
    wanted = {
        "kubernetes.io/arch": [spec.arch] if spec.arch else [],
        "nvidia.com/gpu.family": [spec.gpu_family] if spec.gpu_family else [],
        "nvidia.com/gpu.product": list(spec.gpu_products),
    }
    return [
        {"key": key, "operator": "In", "values": values} for key, values in wanted.items() if values
    ]
