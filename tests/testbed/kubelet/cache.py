"""A local copy of one collection of API objects, kept fresh by list and watch.

Whatever interrupts the watch (a restart of the server, 410 Gone), the next list puts the copy
right again; who listens hears of every object that came, changed or went, by UID.
"""

import asyncio
from collections.abc import Callable, Mapping

from kubelet.api import RETRY_S, Api, ApiError, Object, Unreachable

Listener = Callable[[Object, bool], None]
"""Called with an object and whether it is gone."""


class Cache:
    """The objects at ``path``; ``run`` keeps them fresh until cancelled."""

    def __init__(
        self,
        api: Api,
        path: str,
        params: Mapping[str, str] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._api = api
        self._path = path
        self._params = params or {}
        self._listener = listener or (lambda item, gone: None)
        self._by_uid: dict[str, Object] = {}
        self.synced = asyncio.Event()

    @property
    def items(self) -> list[Object]:
        return list(self._by_uid.values())

    def find(self, namespace: str, name: str) -> Object | None:
        for item in self._by_uid.values():
            meta = item["metadata"]
            if meta["name"] == name and meta.get("namespace", "") == namespace:
                return item
        return None

    async def run(self) -> None:
        while True:
            try:
                await self._follow(await self._list())
            except (ApiError, Unreachable):
                await asyncio.sleep(RETRY_S)

    async def _list(self) -> str:
        query = "&".join(f"{key}={value}" for key, value in self._params.items())
        listing = await self._api.send("GET", f"{self._path}?{query}")
        listed = {item["metadata"]["uid"] for item in listing["items"]}
        for uid in self._by_uid.keys() - listed:
            self._take(self._by_uid[uid], gone=True)
        for item in listing["items"]:
            self._take(item, gone=False)
        self.synced.set()
        return str(listing["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        """Take watch events over and over; ends when a new list is due."""
        while True:
            async for event in self._api.watch(self._path, version, self._params):
                if event["type"] == "ERROR":
                    return
                item = event["object"]
                version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._take(item, gone=event["type"] == "DELETED")

    def _take(self, item: Object, gone: bool) -> None:
        uid = item["metadata"]["uid"]
        if gone:
            self._by_uid.pop(uid, None)
            self._listener(item, True)
            return
        known = self._by_uid.get(uid)
        self._by_uid[uid] = item
        versions = [each and each["metadata"]["resourceVersion"] for each in (known, item)]
        if versions[0] != versions[1]:
            self._listener(item, False)
