"""The replicas of one service as its controller speaks with them: connections, and pod sizes.

What we asked the API server for counts from its answer on, although the watch shows it later: a
pod is never taken for smaller or larger than it may be by now.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from superinfer_contract.service import SuperInferService

from superinfer_operator.children import Seen, has_ended, is_ready, is_terminating
from superinfer_operator.kube.client import Kube, KubeError
from superinfer_operator.kube.replicas import pod_memory
from superinfer_operator.ladder.view import Refusal, RefusalKind
from superinfer_operator.objects.network import host, scheme
from superinfer_operator.replica import PodMemory, Replica
from superinfer_operator.runtime_client import Identity, RuntimeClient
from superinfer_operator.signing import SigningKeys
from superinfer_operator.trust import Authorities
from superinfer_operator.turn import Resize

LOG = logging.getLogger(__name__)

_Connection = tuple[str, str, tuple[str, ...], Identity | None]
"""Pod name, address, the tokens that the runtime may take, and who must answer over TLS."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Our last resize of a pod: its generation by then, the limit, and what was refused."""

    generation: int = 0
    limit_bytes: int = 0
    refusal: Refusal | None = None


@dataclass(slots=True)
class Runtimes:
    """Connections by pod name, address and tokens; the resizes asked for, by pod name."""

    namespace: str
    name: str
    kube: Kube
    signing: SigningKeys
    trust: Authorities
    _clients: dict[_Connection, RuntimeClient] = field(default_factory=dict)
    _asked: dict[str, _Asked] = field(default_factory=dict)

    async def replicas(self, sis: SuperInferService, pods: Mapping[str, Seen]) -> list[Replica]:
        """Return the replicas of all pods that have an address and are not about to end."""
        tokens = tuple(self.signing.admin_tokens(self.namespace, self.name))
        identity = (
            None if sis.spec.server.tls is None else Identity(self.trust.context(), host(sis))
        )
        there = {
            (name, pod["status"]["podIP"], tokens, identity): pod
            for name, pod in sorted(pods.items())
            if not (is_terminating(pod) or has_ended(pod)) and pod["status"].get("podIP")
        }
        for gone in self._clients.keys() - there.keys():
            await self._clients.pop(gone).aclose()
        self._asked = {name: asked for name, asked in self._asked.items() if name in pods}
        return [
            Replica(
                connection[0],
                self._client(sis, connection),
                self._memory(sis, connection[0], pod),
                is_ready(pod),
            )
            for connection, pod in there.items()
        ]

    async def resize(self, resize: Resize) -> None:
        """Ask for a pod's new size. What the server refuses is told to the ladder next time."""
        name = resize.replica
        try:
            generation = await self.kube.resize_pod(self.namespace, name, resize.limit_bytes)
        except KubeError as error:
            LOG.warning("%s/%s: %s", self.namespace, self.name, error)
            if error.code:  # the server answered: a quota, an admission rule, an old Kubernetes
                refusal = Refusal(RefusalKind.INFEASIBLE, str(error))
                before = self._asked.get(name, _Asked())
                self._asked[name] = _Asked(before.generation, before.limit_bytes, refusal)
        else:
            self._asked[name] = _Asked(generation, resize.limit_bytes)

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    def _client(self, sis: SuperInferService, connection: _Connection) -> RuntimeClient:
        client = self._clients.get(connection)
        if client is None:
            _, address, tokens, identity = connection
            where = f"[{address}]" if ":" in address else address
            url = f"{scheme(sis)}://{where}:{sis.spec.server.port}"
            client = RuntimeClient(url, *tokens, identity=identity)
            self._clients[connection] = client
        return client

    def _memory(self, sis: SuperInferService, name: str, pod: Seen) -> PodMemory | None:
        if sis.spec.kv_cache.policy != "FollowBudget":
            return None
        asked = self._asked.get(name, _Asked())
        memory = pod_memory(pod, asked.refusal)
        if memory is None or pod["metadata"].get("generation", 0) >= asked.generation:
            return memory
        # The watch does not show our own resize yet.
        return PodMemory(asked.limit_bytes, memory.granted_bytes, memory.refusal, caught_up=False)
