"""How large a pod is: carries out what `resize` decides, and holds containers to their limits."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from kubelet.api import Object
from kubelet.container import Container
from kubelet.memory import show_limit
from kubelet.node import Node
from kubelet.resize import (
    ResizeState,
    actuate,
    allocate,
    memory_limit_bytes,
    needs_restart,
    requested,
    sizes,
)


class PodSize:
    """One pod's sizes on its node."""

    def __init__(self, node: Node, manifest: Object, enforced: bool) -> None:
        self._node = node
        self._uid = manifest["metadata"]["uid"]
        self._enforced = enforced
        first = sizes(manifest["spec"])
        self.state = ResizeState(first, first)

    @property
    def requests(self) -> Mapping[str, Decimal]:
        return requested(self.state.allocated)

    def lacking(self) -> tuple[str, str] | None:
        """Return (resource, message) where the node has no room for the pod as it came."""
        room = self._node.room_besides(self._uid)
        for name, amount in self.requests.items():
            if lacks := room.lacking({name: amount}):
                return name, lacks[1]
        return None

    async def follow(self, spec: Object, containers: Sequence[Container]) -> bool:
        """Take one step from the present size to the spec's; return whether anything changed."""
        before = self.state
        state = before
        if before.in_progress:
            # Said first and done at the next turn, so that a watcher sees it in progress.
            state = actuate(before, {each.view.name: each.used_bytes for each in containers})
        room = self._node.room_besides(self._uid)
        self.state = allocate(state, sizes(spec), room, self._node.resize_policy)
        for container in containers:
            name = container.view.name
            self.show(container)
            if needs_restart(container.spec, before.actual[name], self.state.actual[name]):
                await container.restart()
        return self.state != before

    def note_use(self, container: Container, used_bytes: int) -> None:
        """Take note of a container's memory use, and end it where that is above its limit."""
        container.used_bytes = used_bytes
        self.show(container)
        limit = self._limit_bytes(container)
        if self._enforced and limit is not None and used_bytes > limit:
            container.kill_for_memory()

    def show(self, container: Container) -> None:
        """Let the container read its own limit and use."""
        show_limit(container.cgroup, self._limit_bytes(container), container.used_bytes)

    def _limit_bytes(self, container: Container) -> int | None:
        given: Object = container.spec.get("resources", {})
        return memory_limit_bytes(self.state.actual.get(container.view.name, given))
