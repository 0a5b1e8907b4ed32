"""What to apply and what to delete for one service, from its spec and what is there: pure.

Level-triggered: the same spec and the same children always give the same plan, however they came
about, so a missed event, a restart in between or a person's edit makes no difference.
"""

from dataclasses import dataclass

from superinfer_contract.service import ServiceSpec, SuperInferService

from superinfer_operator.children import (
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    Children,
    Seen,
    has_ended,
    is_terminating,
    template_annotation,
)
from superinfer_operator.objects.configuration import config_map, secret
from superinfer_operator.objects.naming import (
    CONFIG_ANNOTATION,
    MOVED_OFF_ANNOTATION,
    OPERATOR,
    Object,
)
from superinfer_operator.objects.network import (
    disruption_budget,
    network_policy,
    service,
    service_monitor,
)
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.objects.workload import deployment


@dataclass(frozen=True, slots=True)
class Plan:
    """In this order: hand over, apply, delete."""

    apply: tuple[Object, ...]
    delete: tuple[tuple[str, str], ...] = ()
    """Kinds and names."""
    hand_over_replicas: int | None = None
    """We own the Deployment's replicas and are to let go of them: another field manager must first
    hold the same number, or server-side apply would set it back to 1."""


def plan(
    sis: SuperInferService,
    children: Children,
    platform: Platform,
    tokens: Tokens,
    wished_replicas: int | None,
) -> Plan:
    """Return what makes the cluster hold what ``sis`` asks for.

    ``wished_replicas`` is the ladder's wish, used where the ladder scales.
    """
    there = children.named(DEPLOYMENT, sis.metadata.name)
    replicas = replicas_to_write(sis.spec, wished_replicas)
    configuration = config_map(sis, platform)
    name = configuration["metadata"]["name"]
    count = _count(there) if replicas is None else replicas
    is_alone = count == 1 and sis.spec.placement.share_group is None
    moved_off = _moved_off(children, there, is_alone)
    apply = [
        secret(sis, tokens, platform.otlp_ca),
        configuration,
        service(sis),
        disruption_budget(sis, count),
        deployment(sis, platform, tokens, name, replicas, moved_off),
    ]
    delete = [(CONFIG_MAP, stale) for stale in _stale_config_maps(children, there, name)]
    if sis.spec.network_policy.enabled:
        apply.append(network_policy(sis, platform.operator_namespace))
    else:
        delete += [(NETWORK_POLICY, name) for name in children.names(NETWORK_POLICY)]
    if platform.service_monitors:
        apply.append(service_monitor(sis, platform.service_monitor_labels))
    lets_go = replicas is None and there is not None and _owns_replicas(there)
    return Plan(tuple(apply), tuple(delete), _count(there) if lets_go else None)


def replicas_to_write(spec: ServiceSpec, wished: int | None) -> int | None:
    """Return the Deployment's replicas, or None where another scaler owns them."""
    if spec.autoscaling is None:
        return 1 if spec.replicas is None else spec.replicas
    if spec.autoscaling.scaler == "External":
        return None
    low, high = spec.autoscaling.min_replicas, spec.autoscaling.max_replicas
    return min(max(wished or low, low), high)


def _count(deployment: Seen | None) -> int | None:
    count = (deployment or {}).get("spec", {}).get("replicas")
    return None if count is None else int(count)


def _owns_replicas(deployment: Seen) -> bool:
    return any(
        entry.get("manager") == OPERATOR
        and entry.get("operation") == "Apply"
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in deployment.get("metadata", {}).get("managedFields", ())
    )


def _moved_off(children: Children, there: Seen | None, is_alone: bool) -> str | None:
    """Return the pod that a lone replica is to be moved away from, or the last such one.

    The last one stays in the template: taking it out would roll the pods once more.
    """
    last = template_annotation(there, MOVED_OFF_ANNOTATION)
    if not is_alone or there is None or _is_rolling(there):
        return last
    for name, pod in sorted(children.pods.items()):
        if not (is_terminating(pod) or has_ended(pod)) and children.is_on_cordoned_node(pod):
            return name
    return last


def _is_rolling(deployment: Seen) -> bool:
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration") != deployment.get("metadata", {}).get("generation")
        or status.get("updatedReplicas", 0) < _wanted(deployment)
        or status.get("replicas", 0) > status.get("updatedReplicas", 0)
    )


def _wanted(deployment: Seen) -> int:
    return _count(deployment) or 0


def _stale_config_maps(children: Children, there: Seen | None, current: str) -> list[str]:
    """Configurations that neither the Deployment nor any pod uses any more.

    While pods are replaced the old revision may start one anew, so all stay; so do they while the
    watch does not show the Deployment.
    """
    if there is None or _is_rolling(there):
        return []
    in_use = {current, template_annotation(there, CONFIG_ANNOTATION)}
    for pod in children.pods.values():
        if not has_ended(pod):
            in_use.add(pod.get("metadata", {}).get("annotations", {}).get(CONFIG_ANNOTATION))
    return [name for name in children.names(CONFIG_MAP) if name not in in_use]
