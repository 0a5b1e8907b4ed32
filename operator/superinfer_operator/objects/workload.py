"""The Deployment that runs a service's replicas."""

from superinfer_contract.service import SuperInferService

from superinfer_operator.objects.merge import merged
from superinfer_operator.objects.naming import (
    MOVED_OFF_ANNOTATION,
    Object,
    child,
    selector_labels,
)
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.objects.pod import pod_template

PROGRESS_MARGIN_S = 60
REVISIONS_KEPT = 3


def deployment(
    service: SuperInferService,
    platform: Platform,
    tokens: Tokens,
    config_map: str,
    replicas: int | None,
    moved_off: str | None,
) -> Object:
    """Return the Deployment.

    ``replicas`` None leaves their number to whoever owns it. ``moved_off`` names the pod whose
    node is being drained: a new value rolls the Deployment once, successor first.
    """
    rollout = service.spec.rollout
    moved = {"metadata": {"annotations": {MOVED_OFF_ANNOTATION: moved_off}}}
    template = merged(pod_template(service, platform, tokens, config_map), moved)
    count = {} if replicas is None else {"replicas": replicas}
    return child(service, "apps/v1", "Deployment", service.metadata.name) | {
        "spec": {
            **count,
            "selector": {"matchLabels": selector_labels(service)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": rollout.max_surge,
                    "maxUnavailable": rollout.max_unavailable,
                },
            },
            "progressDeadlineSeconds": rollout.start_timeout_s + PROGRESS_MARGIN_S,
            "revisionHistoryLimit": REVISIONS_KEPT,
            "template": template,
        }
    }
