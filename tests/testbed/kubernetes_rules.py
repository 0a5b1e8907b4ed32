"""What an API server would say to an object: its schema, its names, restricted Pod Security.

The schema is Kubernetes' own OpenAPI of 1.35 in its strict form, where unknown fields are problems.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

Object = Mapping[str, Any]

VERSION = "1.35.0"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){DNS_LABEL.pattern}(\.{DNS_LABEL.pattern})*")
QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_KEY = re.compile(rf"({DNS_LABEL.pattern}(\.{DNS_LABEL.pattern})*/)?{QUALIFIED}")
LABEL_VALUE = re.compile(rf"({QUALIFIED})?")
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def problems(obj: Object) -> list[str]:
    """Return what is wrong with ``obj``; its kind must be one of Kubernetes' own."""
    found = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _validator(obj["apiVersion"], obj["kind"]).iter_errors(obj)
    ]
    found += [f"{path} is null" for path in _nulls(obj, "")]
    return found + list(_bad_names(obj))


@functools.cache
def _validator(api_version: str, kind: str) -> Draft202012Validator:
    folder = f"kubernetes-json-schema/v{VERSION}-local-strict"
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.split(".")[0], version)))
    resource = Resource.from_contents(schema_contents(f"{folder}/{name}.json", VERSION))
    definitions = schema_contents(f"{folder}/_definitions.json", VERSION)
    registry = resource @ (Resource.from_contents(definitions) @ Registry())
    return Draft202012Validator(resource.contents, registry=registry)


def _nulls(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nulls(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _nulls(inner, f"{path}.{number}")
    elif value is None:
        yield path


def _bad_names(obj: Object) -> Iterator[str]:
    metadata = obj["metadata"]
    rule = SERVICE_NAME if obj["kind"] == "Service" else SUBDOMAIN
    if not rule.fullmatch(metadata["name"]):
        yield f"metadata.name {metadata['name']!r}"
    template = obj.get("spec", {}).get("template", {}).get("metadata", {})
    for labels in (metadata.get("labels", {}), template.get("labels", {})):
        for key, value in labels.items():
            if not (LABEL_KEY.fullmatch(key) and LABEL_VALUE.fullmatch(value)):
                yield f"label {key}: {value!r}"


def restricted_violations(pod: Object) -> list[str]:
    """Return what the restricted Pod Security Standard forbids of a pod's spec."""
    return list(_violations(pod))


def _violations(pod: Object) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes", ()):
        if kinds := volume.keys() - {"name"} - RESTRICTED_VOLUMES:
            yield f"volume {volume['name']}: {kinds}"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        name, own = container["name"], container.get("securityContext", {})
        whole = {**pod.get("securityContext", {}), **own}
        if whole.get("runAsNonRoot") is not True or whole.get("runAsUser") == 0:
            yield f"{name} may run as root"
        if whole.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"{name} may gain privileges"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()):
            yield f"{name} keeps capabilities"
        if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
            yield f"{name} adds capabilities"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{name} takes a host port"
