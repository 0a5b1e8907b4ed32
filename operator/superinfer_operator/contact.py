"""Talking to one replica: its faults end here, as words in its view."""

from dataclasses import replace

from superinfer_contract.kv_budget import KvBudgetPatch

from superinfer_operator.replica import Replica, ReplicaView
from superinfer_operator.runtime_client import (
    RuntimeRefused,
    RuntimeUnreachable,
    RuntimeUntrusted,
    TokenRefused,
)
from superinfer_operator.telemetry.windows import Snapshot


async def look(replica: Replica, snapshot: Snapshot, stale_s: float) -> ReplicaView:
    """Ask ``replica`` for its budget; one that is not ready is not asked."""
    view = ReplicaView(replica.name, replica.ready, snapshot, memory=replica.memory)
    if not replica.ready:
        return replace(view, trouble="not ready")
    silent = snapshot.age_s is None or snapshot.age_s > stale_s
    try:
        budget = await replica.runtime.get_budget()
    except (RuntimeUnreachable, RuntimeRefused) as error:
        return replace(view, silent=silent, trouble=str(error), distrust=_distrust(error))
    return replace(view, silent=silent, budget=budget, trouble=_say_refusal(replica))


async def send(
    replica: Replica, view: ReplicaView, patch: KvBudgetPatch
) -> tuple[ReplicaView, str | None]:
    """Send ``patch``; returns the view after it, and the runtime's words if it refused."""
    try:
        return replace(view, budget=await replica.runtime.patch_budget(patch)), None
    except RuntimeRefused as error:
        return replace(view, trouble=str(error)), str(error)
    except RuntimeUnreachable as error:
        return replace(view, trouble=str(error)), None


def _distrust(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, RuntimeUntrusted | TokenRefused) else ""


def _say_refusal(replica: Replica) -> str:
    refusal = replica.memory.refusal if replica.memory is not None else None
    return "" if refusal is None else f"its pod is not resized, {refusal}"
