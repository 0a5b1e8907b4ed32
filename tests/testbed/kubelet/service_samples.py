"""Services and EndpointSlices as the API server gives them, for tests of pure rules."""

from kubelet.api import Object


def service(namespace: str, name: str, address: str, port: int) -> Object:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "ports": [{"port": port, "protocol": "TCP"}]},
    }


def slice_of(name: str, *endpoints: tuple[str, bool, bool]) -> Object:
    return {
        "metadata": {"namespace": "ns", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "", "port": 8000}],
        "endpoints": [
            {
                "addresses": [ip],
                "conditions": {"ready": ready, "serving": True, "terminating": terminating},
            }
            for ip, ready, terminating in endpoints
        ],
    }
