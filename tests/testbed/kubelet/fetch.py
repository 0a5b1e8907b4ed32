"""Fetches what a pod refers to: its ConfigMaps and Secrets anew each time, its tokens when due."""

import time
from collections.abc import Iterator
from typing import Any, Literal

from kubelet.api import Api, Object
from kubelet.projection import TOKEN_LIFETIME_S
from kubelet.sources import Sources, Token

RENEW_AT = 0.8
PLURALS: dict[str, Literal["configmap", "secret"]] = {
    "configmaps": "configmap",
    "secrets": "secret",
}
REFERENCES = {
    "configMap": ("configmaps", "name"),
    "configMapRef": ("configmaps", "name"),
    "configMapKeyRef": ("configmaps", "name"),
    "secret": ("secrets", "secretName"),
    "secretRef": ("secrets", "name"),
    "secretKeyRef": ("secrets", "name"),
}


def references(spec: Object) -> set[tuple[str, str]]:
    """Return (plural, name) of every ConfigMap and Secret in volumes and variables."""
    found = set()
    for key, value in _entries(spec):
        if key in REFERENCES and isinstance(value, dict):
            plural, name_key = REFERENCES[key]
            # A Secret is called secretName as a volume, and name inside a projected one.
            name = value.get(name_key) or value.get("name")
            if name:
                found.add((plural, name))
    return found


def tokens(spec: Object) -> set[Token]:
    """Return every ServiceAccount token that the pod's volumes want."""
    return {
        Token(value.get("audience", ""), value.get("expirationSeconds", TOKEN_LIFETIME_S))
        for key, value in _entries(spec.get("volumes", []))
        if key == "serviceAccountToken"
    }


class Fetcher:
    """The look-ups of one pod."""

    def __init__(self, api: Api, pod: Object) -> None:
        self._api = api
        self._meta = pod["metadata"]
        self._account = pod["spec"].get("serviceAccountName", "default")
        self._wanted = references(pod["spec"])
        self._tokens = tokens(pod["spec"])
        self._held: dict[Token, tuple[str, float]] = {}

    async def sources(self) -> Sources:
        """Fetch everything; what does not exist is missing from the answer.

        Raises:
            ApiError, Unreachable: the API server refused, or did not answer.
        """
        space = f"/api/v1/namespaces/{self._meta['namespace']}"
        objects = {
            (PLURALS[plural], name): await self._api.find(f"{space}/{plural}/{name}")
            for plural, name in self._wanted
        }
        for token in self._tokens:
            if token not in self._held or time.time() >= self._held[token][1]:
                self._held[token] = await self._request(space, token)
        return Sources(
            find=lambda kind, name: objects.get((kind, name)),
            token=lambda token: self._held[token][0],
        )

    async def _request(self, space: str, token: Token) -> tuple[str, float]:
        spec: Object = {
            "expirationSeconds": token.lifetime_s,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": self._meta["name"],
                "uid": self._meta["uid"],
            },
        }
        if token.audience:
            spec["audiences"] = [token.audience]
        answer = await self._api.send(
            "POST", f"{space}/serviceaccounts/{self._account}/token", {"spec": spec}
        )
        return answer["status"]["token"], time.time() + RENEW_AT * token.lifetime_s


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)
