"""The Service that clients call, and the NetworkPolicy that says who may."""

from collections.abc import Mapping
from typing import Any

from superinfer_contract.service import SuperInferService

from superinfer_operator.objects.naming import Object, child, selector_labels

HTTP_PORT_NAME = "http"
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"


def service(sis: SuperInferService) -> Object:
    """Return the ClusterIP Service; only pods that are ready get requests."""
    return child(sis, "v1", "Service", sis.metadata.name) | {
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(sis),
            "ports": [
                {
                    "name": HTTP_PORT_NAME,
                    "port": sis.spec.server.port,
                    "targetPort": HTTP_PORT_NAME,
                    "protocol": "TCP",
                    "appProtocol": scheme(sis),
                }
            ],
        }
    }


def scheme(sis: SuperInferService) -> str:
    """``http``, or ``https`` where the service has a certificate."""
    return "http" if sis.spec.server.tls is None else "https"


def host(sis: SuperInferService) -> str:
    """The service's name within the cluster, for which its certificate must be."""
    return f"{sis.metadata.name}.{sis.metadata.namespace}.svc"


def url(sis: SuperInferService) -> str:
    """Where clients within the cluster find the service."""
    return f"{scheme(sis)}://{host(sis)}:{sis.spec.server.port}"


def network_policy(sis: SuperInferService, operator_namespace: str) -> Object:
    """Return the policy: the own namespace, the operator, and whom the spec names may connect."""
    peers: list[Any] = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: operator_namespace}}},
        *sis.spec.network_policy.extra_from,
    ]
    return child(sis, "networking.k8s.io/v1", "NetworkPolicy", sis.metadata.name) | {
        "spec": {
            "podSelector": {"matchLabels": selector_labels(sis)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": HTTP_PORT_NAME}]}],
        }
    }


def service_monitor(sis: SuperInferService, more_labels: Mapping[str, str]) -> Object:
    """Return the Prometheus operator's ServiceMonitor of the runtimes' metrics."""
    made = child(sis, "monitoring.coreos.com/v1", "ServiceMonitor", sis.metadata.name)
    made["metadata"]["labels"] = {**more_labels, **made["metadata"]["labels"]}
    return made | {
        "spec": {
            "selector": {"matchLabels": selector_labels(sis)},
            "endpoints": [{"port": HTTP_PORT_NAME, "path": "/metrics", **_scraped_over(sis)}],
        }
    }


def _scraped_over(sis: SuperInferService) -> Object:
    if (tls := sis.spec.server.tls) is None:
        return {}
    authority = {"secret": {"name": tls.secret_name, "key": "ca.crt"}}
    return {"scheme": "https", "tlsConfig": {"ca": authority, "serverName": host(sis)}}


def disruption_budget(sis: SuperInferService, replicas: int | None) -> Object:
    """Return the PodDisruptionBudget: one pod of several may be evicted at a time.

    A lone pod may not: the operator moves it off a cordoned node by starting its successor first
    (see `workload.deployment`), and the drain waits for that. One of a share group may, because its
    successor must run beside the others and finds no node before all of them have left. Pods that
    serve nothing may always be evicted.
    """
    moves_itself = replicas == 1 and sis.spec.placement.share_group is None
    return child(sis, "policy/v1", "PodDisruptionBudget", sis.metadata.name) | {
        "spec": {
            "maxUnavailable": 0 if moves_itself else 1,
            "selector": {"matchLabels": selector_labels(sis)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
    }
