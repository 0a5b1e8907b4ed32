"""The operator's writes to the API server, and its few direct reads; never a Secret's.

Each call either takes effect or raises `KubeError`, whose words say what the server refused. All
applies are server-side, under one field manager.
"""

from collections.abc import Callable
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.codecs import from_dict
from lightkube.core.exceptions import ConfigError, LoadResourceError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.types import PatchType
from superinfer_contract.service import GROUP, KIND, VERSION

from superinfer_operator.children import CONFIG_MAP, NETWORK_POLICY, Seen
from superinfer_operator.objects.naming import OPERATOR, Object
from superinfer_operator.objects.pod import CONTAINER
from superinfer_operator.pod_memory import memory_quantity

PLURAL = "superinferservices"
TIMEOUT_S = 30.0
PAGE_OBJECTS = 500
NOT_FOUND = int(httpx2.codes.NOT_FOUND)
SERVICE_MONITOR_CRD = "servicemonitors.monitoring.coreos.com"
HAND_OVER_MANAGER = "superinfer-replicas-hand-over"

SisResource = create_namespaced_resource(GROUP, VERSION, KIND, PLURAL)
create_namespaced_resource("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors")
DELETABLE: dict[str, Any] = {CONFIG_MAP: ConfigMap, NETWORK_POLICY: NetworkPolicy}

CallSeen = Callable[[str, str, int], None]
"""Told of each API call: verb, kind, HTTP status (0: no answer)."""


class KubeError(Exception):
    """The API server refused a call, or did not answer; ``code`` is the HTTP status or 0."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Kube:
    """A client under the operator's own ServiceAccount, or the kubeconfig in force.

    >>> async with Kube.connect() as kube:
    ...     await kube.apply(config_map(service, platform))
    """

    def __init__(self, client: AsyncClient, on_call: CallSeen = lambda verb, kind, code: None):
        self._client = client
        self._on_call = on_call

    @classmethod
    def connect(cls, on_call: CallSeen = lambda verb, kind, code: None) -> "Kube":
        """Raises: KubeError: there is neither a ServiceAccount nor a kubeconfig."""
        try:
            config = KubeConfig.from_env()
        except ConfigError as error:
            raise KubeError(
                f"no cluster to connect to ({error}); run in a pod, or set KUBECONFIG"
            ) from error
        client = AsyncClient(
            config=config,
            field_manager=OPERATOR,
            timeout=httpx2.Timeout(TIMEOUT_S),
            trust_env=False,
        )
        return cls(client, on_call)

    async def __aenter__(self) -> "Kube":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def apply(self, obj: Object) -> Seen:
        """Apply ``obj`` server-side, taking over fields that others set; returns the result."""
        applied = await self._call(
            "apply", obj["kind"], self._client.apply(_model(obj), force=True)
        )
        answer: Seen = applied.to_dict()
        return answer

    async def hand_over_replicas(self, namespace: str, name: str, replicas: int) -> None:
        """Let another field manager hold the Deployment's replicas, so that we can let go."""
        held: Object = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": replicas},
        }
        await self._call(
            "patch",
            "Deployment",
            self._client.patch(
                Deployment,
                name,
                held,
                namespace=namespace,
                patch_type=PatchType.APPLY,
                field_manager=HAND_OVER_MANAGER,
            ),
        )

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object; one that is gone already is fine."""
        try:
            await self._call(
                "delete", kind, self._client.delete(DELETABLE[kind], name, namespace=namespace)
            )
        except KubeError as error:
            if error.code != NOT_FOUND:
                raise

    async def resize_pod(self, namespace: str, name: str, memory_bytes: int) -> int:
        """Resize the runtime's container in place (request = limit); returns its generation."""
        memory = {"memory": memory_quantity(memory_bytes)}
        resources = {"requests": memory, "limits": memory}
        patch = {"spec": {"containers": [{"name": CONTAINER, "resources": resources}]}}
        resized = await self._call(
            "resize",
            "Pod",
            self._client.patch(
                Pod.Resize, name, patch, namespace=namespace, patch_type=PatchType.STRATEGIC
            ),
        )
        return int(resized.metadata.generation or 0)

    async def write_status(self, namespace: str, name: str, status: Object) -> None:
        """Replace the status of a service (a merge patch; fields left out are removed by null)."""
        await self._call(
            "status",
            KIND,
            self._client.patch(
                SisResource.Status,
                name,
                {"status": status},
                namespace=namespace,
                patch_type=PatchType.MERGE,
            ),
        )

    async def generations(self, namespaces: list[str] | None) -> dict[tuple[str, str], int]:
        """Return each service's generation by (namespace, name), straight from the server."""
        found: dict[tuple[str, str], int] = {}
        for namespace in namespaces or ["*"]:
            listed = self._client.list(SisResource, namespace=namespace, chunk_size=PAGE_OBJECTS)
            for item in await self._call("list", KIND, _collected(listed)):
                metadata: ObjectMeta = item.metadata
                key = (metadata.namespace or "", metadata.name or "")
                found[key] = metadata.generation or 0
        return found

    async def has_service_monitors(self) -> bool:
        """Whether the Prometheus operator's CRD is installed."""
        try:
            await self._call(
                "get",
                "CustomResourceDefinition",
                self._client.get(CustomResourceDefinition, SERVICE_MONITOR_CRD),
            )
        except KubeError as error:
            if error.code in (NOT_FOUND, httpx2.codes.FORBIDDEN):
                return False
            raise
        return True

    async def _call(self, verb: str, kind: str, call: Any) -> Any:
        try:
            answer = await call
        except ApiError as error:
            code = int(error.status.code or 0)
            self._on_call(verb, kind, code)
            raise KubeError(f"{verb} {kind}: {error.status.message}", code) from error
        except httpx2.HTTPError as error:
            self._on_call(verb, kind, 0)
            said = str(error) or type(error).__name__
            raise KubeError(f"{verb} {kind}: the API server did not answer ({said})") from error
        self._on_call(verb, kind, int(httpx2.codes.OK))
        return answer


async def _collected(listed: Any) -> list[Any]:
    return [item async for item in listed]


def _model(obj: Object) -> Any:
    try:
        return from_dict(obj)
    except LoadResourceError as error:
        raise KubeError(f"{obj['kind']}: {error}") from error
