"""The pod that serves: one runtime container under the restricted Pod Security Standard."""

from dataclasses import dataclass
from pathlib import Path

from superinfer_contract.service import SuperInferService

from superinfer_operator.objects.configuration import (
    API_KEYS_FOLDER,
    CONFIG_FOLDER,
    TLS_FOLDER,
    TOKENS_FOLDER,
)
from superinfer_operator.objects.grace import Grace
from superinfer_operator.objects.merge import merged
from superinfer_operator.objects.naming import (
    CONFIG_ANNOTATION,
    SHARE_GROUP_LABEL,
    TOKENS_ANNOTATION,
    Object,
    labels,
    secret_name,
)
from superinfer_operator.objects.network import HTTP_PORT_NAME, scheme
from superinfer_operator.objects.placement import placement
from superinfer_operator.objects.platform import Platform, Tokens
from superinfer_operator.pod_memory import (
    memory_quantity,
    pod_memory_bytes,
    start_dram_bytes,
)
from superinfer_operator.runtime_file import CONFIG_FILE

CONTAINER = "runtime"
USER_ID = 10001
HOME = "/home/superinfer"
PROBE_PERIOD_S = 5
LIVENESS_FAILURES = 6
GPU = "nvidia.com/gpu"


def pod_template(
    service: SuperInferService, platform: Platform, tokens: Tokens, config_map: str
) -> Object:
    """Return the template, with the spec's ``podTemplate`` merged over it.

    Labels and annotations of ours stay: without them nobody finds the pod again.
    """
    spec = service.spec
    group = spec.placement.share_group
    ours = {
        "metadata": {
            "labels": labels(service) | ({SHARE_GROUP_LABEL: group} if group else {}),
            "annotations": {CONFIG_ANNOTATION: config_map, TOKENS_ANNOTATION: tokens.fingerprint},
        }
    }
    built = {
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": Grace.of(spec.server.drain_s).termination_s,
            "imagePullSecrets": [{"name": each.name} for each in spec.image.pull_secrets],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **placement(service),
            "containers": [_container(service, platform)],
            "volumes": [
                {"name": "config", "configMap": {"name": config_map}},
                *(_volume(mounted) for mounted in _secrets(service)),
                {"name": "home", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }
    template: Object = merged(merged(built, spec.pod_template), ours)
    return template


def _container(service: SuperInferService, platform: Platform) -> Object:
    spec = service.spec
    policy = {"imagePullPolicy": spec.image.pull_policy} if spec.image.pull_policy else {}
    return {
        "name": CONTAINER,
        "image": spec.image.name or platform.runtime_image,
        **policy,
        "command": ["superinfer", "serve", "--config", str(CONFIG_FOLDER / CONFIG_FILE)],
        "env": [
            {"name": "HOME", "value": HOME},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "k8s.pod.name=$(POD_NAME)"},
        ],
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": spec.server.port, "protocol": "TCP"}],
        "startupProbe": _probe(
            service, "/ready", spec.rollout.start_timeout_s // PROBE_PERIOD_S + 1
        ),
        "livenessProbe": _probe(service, "/live", LIVENESS_FAILURES),
        "readinessProbe": _probe(service, "/ready", 1),
        "lifecycle": {"preStop": {"sleep": {"seconds": Grace.of(spec.server.drain_s).pre_stop_s}}},
        "resources": _resources(service),
        "resizePolicy": [
            {"resourceName": name, "restartPolicy": "NotRequired"} for name in ("cpu", "memory")
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            _mount("config", CONFIG_FOLDER, read_only=True),
            *(_mount(each.volume, each.folder, read_only=True) for each in _secrets(service)),
            _mount("home", Path(HOME)),
            _mount("tmp", Path("/tmp")),
            _mount("shm", Path("/dev/shm")),
        ],
    }


@dataclass(frozen=True, slots=True)
class _Secret:
    """A Secret that the runtime reads: all of it, or one entry."""

    volume: str
    name: str
    folder: Path
    key: str | None = None


def _secrets(service: SuperInferService) -> list[_Secret]:
    server = service.spec.server
    found = [_Secret("tokens", secret_name(service), TOKENS_FOLDER)]
    if (keys := server.api_key_secret_ref) is not None:
        found.append(_Secret("api-keys", keys.name, API_KEYS_FOLDER, keys.key))
    if server.tls is not None:
        found.append(_Secret("tls", server.tls.secret_name, TLS_FOLDER))
    return found


def _volume(mounted: _Secret) -> Object:
    only = {} if mounted.key is None else {"items": [{"key": mounted.key, "path": mounted.key}]}
    return {
        "name": mounted.volume,
        "secret": {"secretName": mounted.name, "defaultMode": 0o440, **only},
    }


def _resources(service: SuperInferService) -> Object:
    """Memory is reserved in full (request = limit); CPU has no limit, so it is never throttled."""
    wanted = service.spec.resources
    start_bytes = pod_memory_bytes(wanted, start_dram_bytes(service.spec.kv_cache))
    memory = memory_quantity(start_bytes)
    gpus = {GPU: str(wanted.gpus)} if wanted.gpus else {}
    cpu = {"cpu": wanted.cpu} if wanted.cpu else {}
    return {"requests": {**cpu, "memory": memory, **gpus}, "limits": {"memory": memory, **gpus}}


def _probe(service: SuperInferService, path: str, failures: int) -> Object:
    # HTTP is Kubernetes' default and is not written: pods of services without TLS stay as they are.
    over = {} if scheme(service) == "http" else {"scheme": "HTTPS"}
    return {
        "httpGet": {"path": path, "port": HTTP_PORT_NAME, **over},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": PROBE_PERIOD_S,
        "failureThreshold": failures,
    }


def _mount(name: str, path: Path, read_only: bool = False) -> Object:
    return {"name": name, "mountPath": str(path), "readOnly": read_only}
