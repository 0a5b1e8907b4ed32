"""Which pods a Service's port leads to, as kube-proxy chooses them: pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from kubelet.api import Object


@dataclass(frozen=True, order=True)
class Frontend:
    """An address and port at which clients reach a Service."""

    address: str
    port: int


Backend = tuple[str, int]


def frontends(
    services: Iterable[Object], slices: Iterable[Object], api_server: Backend
) -> dict[Frontend, list[Backend]]:
    """Return where each ClusterIP and port leads; `kubernetes` leads to the API server."""
    by_service: dict[tuple[str, str], list[Object]] = {}
    for each in slices:
        meta = each["metadata"]
        owner = meta.get("labels", {}).get("kubernetes.io/service-name", "")
        by_service.setdefault((meta["namespace"], owner), []).append(each)
    found: dict[Frontend, list[Backend]] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP", "")
        if address in ("", "None"):
            continue
        key = (meta["namespace"], meta["name"])
        for port in spec.get("ports", ()):
            if port.get("protocol", "TCP") == "TCP":
                led = _backends(by_service.get(key, []), port.get("name", ""))
                if key == ("default", "kubernetes") and not led:
                    led = [api_server]
                found[Frontend(address, port["port"])] = led
    return found


def _backends(slices: Iterable[Object], port_name: str) -> list[Backend]:
    """The ready endpoints; if there is none, those that still serve while they end."""
    ready: set[Backend] = set()
    ending: set[Backend] = set()
    for each in slices:
        ports = [p["port"] for p in each.get("ports") or () if (p.get("name") or "") == port_name]
        for endpoint in each.get("endpoints") or ():
            conditions = endpoint.get("conditions", {})
            targets = {(ip, port) for ip in endpoint["addresses"] for port in ports}
            if conditions.get("ready", True):
                ready |= targets
            elif conditions.get("serving") and conditions.get("terminating"):
                ending |= targets
    return sorted(ready or ending)
