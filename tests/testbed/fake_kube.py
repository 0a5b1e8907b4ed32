"""The API client's place in tests of the keeper: holds what is applied, fails as it is told to."""

import copy
from collections.abc import Callable
from typing import Any

from superinfer_operator.children import Children, Seen
from superinfer_operator.kube.applied import key_of
from superinfer_operator.kube.client import KubeError
from superinfer_operator.kube.trim import trimmed

Object = dict[str, Any]


class FakeKube:
    """Has the methods of `Kube` that a keeper calls; ``calls`` are verbs and kinds, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.objects: dict[tuple[str, str], Object] = {}
        self.status: Object = {}
        self.status_writes: list[Object] = []
        self.resized: dict[str, int] = {}
        self.fails: Callable[[str, str], int | None] = lambda verb, kind: None
        self._version = 0

    def children(self, **pods: Seen) -> Children:
        """Everything as watches that are never late show it."""
        return Children({key: trimmed(obj) for key, obj in self.objects.items()}, pods)

    async def apply(self, obj: Object) -> Seen:
        self._called("apply", obj["kind"])
        self._version += 1
        identity = {"uid": str(key_of(obj)), "generation": self._version}
        stored = {**copy.deepcopy(obj), "metadata": {**obj["metadata"], **identity}, "status": {}}
        self.objects[key_of(obj)] = stored
        return trimmed(stored)

    async def hand_over_replicas(self, namespace: str, name: str, replicas: int) -> None:
        self._called("hand-over", "Deployment")

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        self._called("delete", kind)
        self.objects.pop((kind, name), None)

    async def resize_pod(self, namespace: str, name: str, memory_bytes: int) -> int:
        self._called("resize", "Pod")
        self.resized[name] = memory_bytes
        return 1 + len(self.resized)

    async def write_status(self, namespace: str, name: str, status: Object) -> None:
        self._called("status", "SuperInferService")
        self.status_writes.append(status)
        self.status = _merge_patched(self.status, status)

    def _called(self, verb: str, kind: str) -> None:
        self.calls.append((verb, kind))
        code = self.fails(verb, kind)
        if code is not None:
            raise KubeError(f"{verb} {kind}: no ({code})", code)


def _merge_patched(target: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_patched(result.get(key), value)
    return result
