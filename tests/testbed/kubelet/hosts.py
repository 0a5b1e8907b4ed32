"""A pod's /etc/hosts: the names of Services in place of a cluster's DNS."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from kubelet.api import Object


def hosts_file(
    pod: Object, pod_ip: str, services: Iterable[Object], slices: Iterable[Object]
) -> str:
    """Return the file's text; a headless Service's names stand for each of its ready pods."""
    meta, spec = pod["metadata"], pod["spec"]
    own = [spec.get("hostname") or meta["name"]]
    if spec.get("subdomain"):
        domain = f"{spec['subdomain']}.{meta['namespace']}"
        own = [f"{own[0]}.{domain}.svc.cluster.local", f"{own[0]}.{domain}.svc", *own]
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost", f"{pod_ip}\t{' '.join(own)}"]
    for alias in spec.get("hostAliases", ()):
        lines.append(f"{alias['ip']}\t{' '.join(alias.get('hostnames', ()))}")
    known = list(slices)
    for service in services:
        lines += _lines(service, meta["namespace"], known)
    return "\n".join([*lines[:3], *sorted(lines[3:])]) + "\n"


def write_hosts(path: Path, text: str) -> None:
    """Rewrite the file in place: containers hold a bind of this very file."""
    if path.exists() and path.read_text() == text:
        return
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()


def _lines(service: Object, namespace: str, slices: list[Object]) -> Iterator[str]:
    meta = service["metadata"]
    qualified = f"{meta['name']}.{meta['namespace']}"
    names = [f"{qualified}.svc.cluster.local", f"{qualified}.svc", qualified]
    if meta["namespace"] == namespace:
        names.append(meta["name"])
    address = service["spec"].get("clusterIP", "")
    if address and address != "None":
        yield f"{address}\t{' '.join(names)}"
    if address != "None":
        return
    for each in slices:
        labels = each["metadata"].get("labels", {})
        if (each["metadata"]["namespace"], labels.get("kubernetes.io/service-name")) != (
            meta["namespace"],
            meta["name"],
        ):
            continue
        for endpoint in each.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready", True):
                host = endpoint.get("hostname")
                member = [f"{host}.{name}" for name in names] if host else []
                for ip in endpoint["addresses"]:
                    yield f"{ip}\t{' '.join([*member, *names])}"
