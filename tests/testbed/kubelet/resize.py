"""In-place pod resize as the kubelet of Kubernetes 1.35 answers it: pure.

A pod has three sizes: what its spec asks for (desired), what the node has set aside (allocated)
and what the containers really have (actual). `allocate` moves desired to allocated, or says why it
must wait; `actuate` moves allocated to actual, except a memory limit that would fall below what
is in use.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from kubelet.api import Object
from kubelet.quantity import in_units, parse

RESIZABLE = ("cpu", "memory")

Sizes = dict[str, Object]
"""Resources (requests and limits) by container name."""


class ResizePolicy(StrEnum):
    """How a node answers: by its capacity, or as a test tells it to."""

    GRANT = "Grant"
    DEFER = "Defer"
    INFEASIBLE = "Infeasible"


@dataclass(frozen=True)
class Condition:
    """Why a resize is not through."""

    reason: str
    message: str


@dataclass(frozen=True)
class ResizeState:
    """One pod's sizes and what is said about them."""

    allocated: Sizes
    actual: Sizes
    pending: Condition | None = None
    in_progress: Condition | None = None


@dataclass(frozen=True)
class Room:
    """What a node has to give, and what its other pods have taken of it."""

    allocatable: Mapping[str, str]
    taken: Mapping[str, Decimal]

    def lacking(self, wanted: Mapping[str, Decimal]) -> tuple[str, str] | None:
        """Return (reason, message) of the first resource that does not fit, None if all do."""
        for name, amount in wanted.items():
            capacity = parse(self.allocatable.get(name, "0"))
            if amount > capacity:
                return "Infeasible", (
                    f"Node didn't have enough capacity: {name}, "
                    f"requested: {amount:f}, capacity: {capacity:f}"
                )
            taken = self.taken.get(name, Decimal(0))
            if taken + amount > capacity:
                return "Deferred", (
                    f"Node didn't have enough resource: {name}, "
                    f"requested: {amount:f}, used: {taken:f}, capacity: {capacity:f}"
                )
        return None


def sizes(spec: Object) -> Sizes:
    """Return the resources of every container of a pod's spec."""
    return {each["name"]: each.get("resources", {}) for each in spec["containers"]}


def requested(of: Sizes) -> dict[str, Decimal]:
    """Return the sum of the containers' requests by resource."""
    total: dict[str, Decimal] = {}
    for resources in of.values():
        for name, quantity in resources.get("requests", {}).items():
            total[name] = total.get(name, Decimal(0)) + parse(quantity)
    return total


def memory_limit_bytes(resources: Object) -> int | None:
    limit = resources.get("limits", {}).get("memory")
    return None if limit is None else in_units(limit)


def allocate(state: ResizeState, desired: Sizes, room: Room, policy: ResizePolicy) -> ResizeState:
    """Set the desired sizes aside if the node may and can, else say why not."""
    if desired == state.allocated:
        return replace(state, pending=None)
    if policy is ResizePolicy.DEFER:
        return replace(state, pending=Condition("Deferred", "the node answers later"))
    if policy is ResizePolicy.INFEASIBLE:
        message = "In-place resize of this pod is not possible on this node"
        return replace(state, pending=Condition("Infeasible", message))
    wanted = {name: size for name, size in requested(desired).items() if name in RESIZABLE}
    if lacking := room.lacking(wanted):
        return replace(state, pending=Condition(*lacking))
    return replace(state, allocated=desired, pending=None, in_progress=Condition("", ""))


def actuate(state: ResizeState, used_bytes: Mapping[str, int]) -> ResizeState:
    """Give the containers what is allocated, unless a limit would fall below what is in use."""
    for name, resources in state.allocated.items():
        limit = memory_limit_bytes(resources)
        current = memory_limit_bytes(state.actual.get(name, {}))
        shrinks = limit is not None and (current is None or limit < current)
        if shrinks and limit is not None and used_bytes.get(name, 0) >= limit:
            message = (
                f"cannot decrease memory limits: attempting to set container {name} memory limit "
                f"({limit}) below current usage ({used_bytes[name]})"
            )
            return replace(state, in_progress=Condition("Error", message))
    return replace(state, actual=state.allocated, in_progress=None)


def needs_restart(container: Object, before: Object, after: Object) -> bool:
    """Whether the change of a container's resources asks for a restart of it."""
    policies = {
        each["resourceName"]: each["restartPolicy"] for each in container.get("resizePolicy", ())
    }
    return any(
        before.get(section, {}).get(name) != after.get(section, {}).get(name)
        for name in RESIZABLE
        if policies.get(name) == "RestartContainer"
        for section in ("requests", "limits")
    )
