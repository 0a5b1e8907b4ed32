"""Which objects are as we applied them, so that nothing is sent to the API server for nothing.

After each apply the object's fingerprint is remembered beside what was wished for. It is current
while we wish for the same and the watch shows the same fingerprint; whoever changes or deletes it
makes the two differ. Objects that are not watched (Secrets, which the operator cannot read) are
applied again after `UNWATCHED_FOR_S`.
"""

import hashlib
import json
from dataclasses import dataclass

from superinfer_operator.children import Seen
from superinfer_operator.objects.naming import Object

UNWATCHED_FOR_S = 300.0

Key = tuple[str, str]
"""Kind and name."""


def key_of(obj: Object) -> Key:
    return obj["kind"], obj["metadata"]["name"]


@dataclass(frozen=True, slots=True)
class _Applied:
    wish: str
    fingerprint: tuple[object, ...]
    at_s: float


class Applied:
    """The memory of one service's applies; starts empty, so a new operator applies all once."""

    def __init__(self, watched_kinds: frozenset[str]) -> None:
        self._watched = watched_kinds
        self._known: dict[Key, _Applied] = {}

    def is_current(self, wish: Object, seen: Seen | None, now_s: float) -> bool:
        """Whether applying ``wish`` would change nothing."""
        known = self._known.get(key_of(wish))
        if known is None or known.wish != _digest(wish):
            return False
        if wish["kind"] not in self._watched:
            return now_s - known.at_s < UNWATCHED_FOR_S
        return seen is not None and known.fingerprint == _fingerprint(seen)

    def note(self, wish: Object, answer: Seen, now_s: float) -> None:
        """Remember that ``wish`` was applied and that the server now holds ``answer``."""
        self._known[key_of(wish)] = _Applied(_digest(wish), _fingerprint(answer), now_s)

    def forget(self, key: Key) -> None:
        """The object was deleted."""
        self._known.pop(key, None)


def _digest(wish: Object) -> str:
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()


def _fingerprint(seen: Seen) -> tuple[object, ...]:
    """What changes when somebody edits the object, and not when its status moves."""
    metadata = seen.get("metadata", {})
    version = metadata.get("generation") or metadata.get("resourceVersion")
    labels = tuple(sorted((metadata.get("labels") or {}).items()))
    owners = tuple(sorted(owner.get("uid", "") for owner in metadata.get("ownerReferences") or ()))
    return metadata.get("uid"), version, labels, owners
