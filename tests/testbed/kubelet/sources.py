"""The ConfigMaps, Secrets and tokens that a pod's volumes and variables are made of."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kubelet.api import Object


class Missing(Exception):
    """Something that the pod needs is not there (yet); the text is for the pod's status."""


@dataclass(frozen=True)
class Token:
    """A ServiceAccount token as one volume wants it."""

    audience: str
    lifetime_s: int


@dataclass(frozen=True)
class Sources:
    """Where values come from; each look-up answers from what was fetched before."""

    find: Callable[[Literal["configmap", "secret"], str], Object | None]
    token: Callable[[Token], str]

    def data(
        self, kind: Literal["configmap", "secret"], name: str, optional: bool
    ) -> dict[str, bytes] | None:
        """Return the object's keys as bytes, or None where an optional one is missing."""
        found = self.find(kind, name)
        if found is None:
            if optional:
                return None
            raise Missing(f'{kind} "{name}" not found')
        if kind == "secret":
            return {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
        plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        binary = {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
        return plain | binary
