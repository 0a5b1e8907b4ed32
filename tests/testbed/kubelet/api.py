"""The API server over plain JSON: requests with a kubeconfig, and watches that never end.

Objects stay dictionaries, so a field that a client library does not know yet is not lost.
"""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

Object = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
WATCH_S = 240
RETRY_S = 0.5


class ApiError(Exception):
    """The API server refused: its status code and its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Unreachable(Exception):
    """No answer came; the same request may be sent again."""


class Api:
    """One API server as the user of a kubeconfig's current context."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config, "contexts", config["current-context"])["context"]
        cluster = _named(config, "clusters", context["cluster"])["cluster"]
        user = _named(config, "users", context["user"])["user"]
        self.url = httpx.URL(cluster["server"])
        token = user.get("token")
        self._client = httpx.AsyncClient(
            base_url=self.url,
            verify=_tls(cluster, user, kubeconfig.parent),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=10,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

        self._under_way: set[asyncio.Task[httpx.Response]] = set()

    async def close(self) -> None:
        for answer in await asyncio.gather(*self._under_way, return_exceptions=True):
            if isinstance(answer, httpx.Response):
                await answer.aclose()
        await self._client.aclose()

    async def find(self, path: str) -> Object | None:
        """Return the object at ``path``, or None where there is none."""
        try:
            return await self.send("GET", path)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def send(
        self, method: str, path: str, body: Object | None = None, content: str = "application/json"
    ) -> Object:
        """Send one request and return the answer's object.

        Raises:
            ApiError: the server refused. Unreachable: it did not answer.
        """
        data = None if body is None else json.dumps(body)
        try:
            answer = await self._answer(
                self._client.build_request(
                    method, path, content=data, headers={"Content-Type": content}
                )
            )
        except httpx.TransportError as error:
            raise Unreachable(f"{method} {path}: {error!r}") from error
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, _words(answer))
        result: Object = answer.json()
        return result

    async def watch(
        self, path: str, version: str, params: Mapping[str, str]
    ) -> AsyncIterator[Object]:
        """Yield the watch events after ``version`` until the server ends the stream."""
        query = {
            **params,
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
            "allowWatchBookmarks": "true",
        }
        request = self._client.build_request(
            "GET", path, params=query, timeout=httpx.Timeout(10, read=WATCH_S + 30)
        )
        try:
            answer = await self._answer(request, stream=True)
            try:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise ApiError(answer.status_code, _words(answer))
                async for line in answer.aiter_lines():
                    yield json.loads(line)
            finally:
                await answer.aclose()
        except httpx.TransportError as error:
            raise Unreachable(f"watch {path}: {error!r}") from error

    async def _answer(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        """Send, in a task that outlives a cancelled caller.

        A client that is cancelled while it connects would leave its socket open; so what was begun
        comes to its end, at the latest in `close`.
        """
        task = asyncio.create_task(self._client.send(request, stream=stream))
        self._under_way.add(task)
        await asyncio.wait({task})
        self._under_way.discard(task)
        return task.result()


async def persist(api: Api, method: str, path: str, body: Object, content: str) -> Object | None:
    """Send until the server answers; None where the object is gone or is another by now."""
    while True:
        try:
            return await api.send(method, path, body, content)
        except Unreachable:
            await asyncio.sleep(RETRY_S)
        except ApiError as error:
            if error.code in (404, 409):
                return None
            if error.code != 429 and error.code < 500:
                raise
            await asyncio.sleep(RETRY_S)


def _named(config: Object, section: str, name: str) -> Object:
    for each in config[section]:
        if each["name"] == name:
            found: Object = each
            return found
    raise KeyError(f"the kubeconfig's {section} has no {name!r}")


def _tls(cluster: Object, user: Object, folder: Path) -> ssl.SSLContext:
    authority = _material(cluster, "certificate-authority", folder)
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    certificate = _material(user, "client-certificate", folder)
    key = _material(user, "client-key", folder)
    if certificate and key:
        # The ssl module reads a client certificate from a file only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    return tls


def _material(entry: Object, name: str, folder: Path) -> bytes | None:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"])
    return (folder / entry[name]).read_bytes() if name in entry else None


def _words(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", answer.text))
    except ValueError:
        return answer.text
