"""Tells the API server a pod's status, whenever it is another than the last told."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from kubelet.api import STRATEGIC, Api, ApiError, Object, persist
from kubelet.pod_status import PodView, patch, status, timestamp

log = logging.getLogger(__name__)


class Teller:
    """Keeps one pod's status in the API server up to date."""

    def __init__(self, api: Api, manifest: Object, view: Callable[[], PodView]) -> None:
        meta = manifest["metadata"]
        self._api = api
        self._uid = meta["uid"]
        self._path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self._told: Object = manifest.get("status", {})
        self._view = view
        self.changed = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self.changed.wait()
            self.changed.clear()
            await self.tell()

    async def tell(self) -> None:
        new = status(self._view(), self._told, timestamp(datetime.now(UTC)))
        if new == self._told:
            return
        body = patch(self._uid, new, self._told)
        try:
            await persist(self._api, "PATCH", f"{self._path}/status", body, STRATEGIC)
        except ApiError:
            log.exception("the status of %s was refused", self._path)
        self._told = new

    async def confirm_deletion(self) -> None:
        """Say that nothing of the pod is left, so that its object may go."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}
        await persist(self._api, "DELETE", self._path, body, "application/json")
