"""kopf's side: watches feed indexes, one daemon a service runs its keeper, events only poke.

Nothing is decided here. The daemon works from the indexes, which kopf fills before the first daemon
starts, so a keeper never sees half a cluster.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import kopf
from superinfer_contract.service import GROUP, VERSION

from superinfer_operator.children import Children
from superinfer_operator.control import Controller
from superinfer_operator.keeper import Keeper, Surroundings
from superinfer_operator.kube.client import PLURAL
from superinfer_operator.kube.trim import trimmed, trimmed_node, trimmed_pod
from superinfer_operator.objects.naming import FINALIZER, OPERATOR, SERVICE_LABEL

LOG = logging.getLogger(__name__)

CHILD_RESOURCES = (
    ("apps", "v1", "deployments"),
    ("", "v1", "configmaps"),
    ("", "v1", "services"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "networkpolicies"),
)
PODS = ("", "v1", "pods")
NODES = ("", "v1", "nodes")
SERVICES = (GROUP, VERSION, PLURAL)
INDEXES = ("children", "pods", "nodes")
MINE: dict[str, Any] = {"app.kubernetes.io/managed-by": OPERATOR, SERVICE_LABEL: kopf.PRESENT}
OPERATOR_ERROR_PAUSE_S = 5.0

ServiceKey = tuple[str, str]
"""Namespace and name."""


class Handlers:
    """The operator's kopf handlers, registered in a registry of their own."""

    def __init__(self, shared: Surroundings) -> None:
        self._shared = shared
        self._pokes: dict[ServiceKey, asyncio.Event] = {}
        self.keepers: dict[ServiceKey, Keeper] = {}

    def poke(self, key: ServiceKey) -> None:
        """Let the service's keeper look soon."""
        if key in self._pokes:
            self._pokes[key].set()

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """Add all handlers to ``registry``."""
        for child in CHILD_RESOURCES:
            kopf.index(*child, id="children", labels=MINE, registry=registry)(self._index_child)
            kopf.on.event(*child, labels=MINE, registry=registry)(self._child_changed)
        kopf.index(*PODS, id="pods", labels=MINE, registry=registry)(self._index_pod)
        kopf.on.event(*PODS, labels=MINE, registry=registry)(self._child_changed)
        kopf.index(*NODES, id="nodes", registry=registry)(self._index_node)
        kopf.on.event(*SERVICES, registry=registry)(self._service_changed)
        kopf.daemon(
            *SERVICES,
            id="keep",
            registry=registry,
            cancellation_backoff=1.0,
            cancellation_timeout=5.0,
        )(self._keep)

    # --- indexes ----------------------------------------------------------------------------

    async def _index_child(self, body: Mapping[str, Any], **_: Any) -> dict[ServiceKey, Any]:
        return {_service_of(body): trimmed(body)}

    async def _index_pod(self, body: Mapping[str, Any], **_: Any) -> dict[ServiceKey, Any]:
        return {_service_of(body): trimmed_pod(body)}

    async def _index_node(self, body: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        return {body["metadata"]["name"]: trimmed_node(body)}

    # --- pokes ------------------------------------------------------------------------------

    async def _child_changed(self, body: Mapping[str, Any], **_: Any) -> None:
        self.poke(_service_of(body))

    async def _service_changed(self, body: Mapping[str, Any], **_: Any) -> None:
        self.poke((body["metadata"]["namespace"], body["metadata"]["name"]))

    # --- the loop of one service ------------------------------------------------------------

    async def _keep(
        self,
        *,
        body: kopf.Body,
        stopped: kopf.DaemonStopped,
        **indexes: Any,
    ) -> None:
        key = (body["metadata"]["namespace"], body["metadata"]["name"])

        def announce(kind: str, reason: str, message: str) -> None:
            kopf.event(body, type=kind, reason=reason, message=message)

        keeper = self.keepers[key] = Keeper(
            *key, self._shared, announce, dict(body.get("status") or {})
        )
        poked = self._pokes[key] = asyncio.Event()
        poked.set()
        try:
            while not stopped:
                was_poked = poked.is_set()
                poked.clear()
                seen = _gather(key, **{name: indexes[name] for name in INDEXES})
                try:
                    wait_s = await keeper.round(body, seen, self._neighbours(key), was_poked)
                except Exception:
                    # A fault in one look must not end the loop: the next starts from what is there.
                    LOG.exception("%s: this round failed", keeper.key)
                    wait_s = OPERATOR_ERROR_PAUSE_S
                await _first_of(poked, stopped, wait_s)
        finally:
            del self._pokes[key], self.keepers[key]
            await keeper.close()

    def _neighbours(self, key: ServiceKey) -> list[Controller]:
        """The controllers of the services that share their GPUs with this one."""
        group = self.keepers[key].share_group
        return [
            other.controller
            for (namespace, name), other in sorted(self.keepers.items())
            if group is not None
            and namespace == key[0]
            and name != key[1]
            and other.share_group == group
            and other.controller is not None
        ]


def _service_of(body: Mapping[str, Any]) -> ServiceKey:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["labels"][SERVICE_LABEL]


def _gather(
    key: ServiceKey,
    children: Mapping[ServiceKey, Iterable[Any]],
    pods: Mapping[ServiceKey, Iterable[Any]],
    nodes: Mapping[str, Iterable[Any]],
) -> Children:
    own = {pod["metadata"]["name"]: pod for pod in pods.get(key, ())}
    names = {pod["spec"]["nodeName"] for pod in own.values()}
    return Children(
        objects={
            (child["kind"], child["metadata"]["name"]): child for child in children.get(key, ())
        },
        pods=own,
        nodes={name: node for name in names for node in nodes.get(name, ())},
    )


async def _first_of(poked: asyncio.Event, stopped: kopf.DaemonStopped, wait_s: float) -> None:
    """Return when poked, stopped, or after ``wait_s``."""
    waits = [asyncio.ensure_future(poked.wait()), asyncio.ensure_future(stopped.wait(wait_s))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: our own names, time-outs that end stalled watches, no log Events."""
    own = kopf.OperatorSettings()
    own.persistence.finalizer = FINALIZER
    own.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    own.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    own.posting.loggers = False
    own.posting.reporting_component = OPERATOR
    own.posting.event_name_prefix = f"{OPERATOR}-"
    own.watching.server_timeout = 300
    own.watching.client_timeout = 330
    own.watching.connect_timeout = 30
    own.watching.reconnect_backoff = 1
    own.networking.request_timeout = 30
    own.scanning.disabled = True
    selector = f"app.kubernetes.io/managed-by={OPERATOR}"
    for group, version, plural in (*CHILD_RESOURCES, PODS):
        own.watching.label_selectors[group, version, plural] = selector
    return own
