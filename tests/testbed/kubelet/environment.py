"""A container's environment variables, in the order in which Kubernetes lets them override."""

import re
from collections.abc import Iterable, Mapping

from kubelet.api import Object
from kubelet.downward import Facts, field_value, resource_value
from kubelet.expansion import expand
from kubelet.sources import Missing, Sources


def environment(
    base: Mapping[str, str],
    services: Iterable[Object],
    container: Object,
    facts: Facts,
    sources: Sources,
) -> dict[str, str]:
    """Return all variables: the image's, those of Services, envFrom, then env.

    Raises:
        Missing: a ConfigMap, Secret or key that is not optional does not exist.
    """
    variables = dict(base)
    variables["HOSTNAME"] = facts.pod["metadata"]["name"]
    namespace = facts.pod["metadata"]["namespace"]
    links = facts.pod["spec"].get("enableServiceLinks", True)
    for service in services:
        variables |= _service_variables(service, namespace, links)
    for source in container.get("envFrom", ()):
        variables |= _all_keys(source, sources)
    for entry in container.get("env", ()):
        value = _value(entry, variables, container, facts, sources)
        if value is not None:
            variables[entry["name"]] = value
    return variables


def _value(
    entry: Object,
    variables: Mapping[str, str],
    container: Object,
    facts: Facts,
    sources: Sources,
) -> str | None:
    origin = entry.get("valueFrom")
    if origin is None:
        return expand(entry.get("value", ""), variables)
    if "fieldRef" in origin:
        return field_value(facts, origin["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in origin:
        return resource_value(facts, container, origin["resourceFieldRef"])
    if "configMapKeyRef" in origin:
        return _key("configmap", origin["configMapKeyRef"], sources)
    return _key("secret", origin["secretKeyRef"], sources)


def _key(kind: str, reference: Object, sources: Sources) -> str | None:
    optional = reference.get("optional", False)
    data = sources.data("secret" if kind == "secret" else "configmap", reference["name"], optional)
    if data is not None and reference["key"] in data:
        return data[reference["key"]].decode()
    if optional:
        return None
    raise Missing(f"couldn't find key {reference['key']} in {kind} {reference['name']}")


def _all_keys(source: Object, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix", "")
    found: dict[str, str] = {}
    if reference := source.get("configMapRef"):
        data = sources.data("configmap", reference["name"], reference.get("optional", False))
    else:
        reference = source["secretRef"]
        data = sources.data("secret", reference["name"], reference.get("optional", False))
    for key, value in (data or {}).items():
        found[prefix + key] = value.decode()
    return found


def _service_variables(service: Object, namespace: str, links: bool) -> dict[str, str]:
    """The variables of one Service; `kubernetes` is told to every pod, others if they ask."""
    meta, spec = service["metadata"], service["spec"]
    api_server = (meta["namespace"], meta["name"]) == ("default", "kubernetes")
    if not api_server and not (links and meta["namespace"] == namespace):
        return {}
    address, ports = spec.get("clusterIP", "None"), spec.get("ports", ())
    if address == "None" or not ports:
        return {}
    name = re.sub("[^A-Z0-9]", "_", meta["name"].upper())
    found = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": str(ports[0]["port"]),
        f"{name}_PORT": f"tcp://{address}:{ports[0]['port']}",
    }
    for port in ports:
        if port.get("name"):
            label = re.sub("[^A-Z0-9]", "_", port["name"].upper())
            found[f"{name}_SERVICE_PORT_{label}"] = str(port["port"])
        link = f"{name}_PORT_{port['port']}_{port.get('protocol', 'TCP')}"
        found |= {
            link: f"tcp://{address}:{port['port']}",
            f"{link}_PROTO": port.get("protocol", "TCP").lower(),
            f"{link}_PORT": str(port["port"]),
            f"{link}_ADDR": address,
        }
    return found
