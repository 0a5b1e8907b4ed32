"""Names, labels and annotations of everything that the operator makes."""

from typing import Any

from superinfer_contract.service import API_VERSION, GROUP, KIND, SuperInferService

OPERATOR = "superinfer-operator"
SERVICE_LABEL = f"{GROUP}/service"
SHARE_GROUP_LABEL = f"{GROUP}/share-group"
CONFIG_ANNOTATION = f"{GROUP}/config"
TOKENS_ANNOTATION = f"{GROUP}/tokens"
MOVED_OFF_ANNOTATION = f"{GROUP}/moved-off"
FINALIZER = f"{GROUP}/finalizer"

Object = dict[str, Any]
"""A Kubernetes object as it stands in JSON."""


def selector_labels(service: SuperInferService) -> dict[str, str]:
    """The immutable labels that select the service's pods."""
    return {
        "app.kubernetes.io/name": "superinfer",
        "app.kubernetes.io/instance": service.metadata.name,
        SERVICE_LABEL: service.metadata.name,
    }


def labels(service: SuperInferService) -> dict[str, str]:
    """All labels of an object of the service."""
    return {
        **selector_labels(service),
        "app.kubernetes.io/component": "runtime",
        "app.kubernetes.io/part-of": "superinfer",
        "app.kubernetes.io/managed-by": OPERATOR,
    }


def selector_text(service: SuperInferService) -> str:
    """The selector as the scale subresource wants it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector_labels(service).items()))


def child(service: SuperInferService, api_version: str, kind: str, name: str) -> Object:
    """The beginning of an object that goes when its service goes."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": service.metadata.namespace,
            "labels": labels(service),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": service.metadata.name,
                    "uid": service.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
    }


def config_map_name(service: SuperInferService, config_hash: str) -> str:
    """One ConfigMap a configuration, so that pods of an older revision keep theirs."""
    return f"{service.metadata.name}-runtime-{config_hash}"


def secret_name(service: SuperInferService) -> str:
    return f"{service.metadata.name}-tokens"
