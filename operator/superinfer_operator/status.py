"""The status of one service, as a table or as one line: pure rendering of a `View`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from superinfer_contract.kv_budget import KvBudget, TierState
from superinfer_contract.metrics import (
    KV_HEADROOM,
    REQUESTS,
    ROTATION_BYTES,
    ROTATIONS,
    SLO_MAX_LAG,
    Direction,
    Objective,
    Tier,
)
from superinfer_contract.quantity import format_bytes
from superinfer_contract.slo import SloClass

from superinfer_operator.replica import ReplicaView
from superinfer_operator.telemetry.windows import Snapshot
from superinfer_operator.turn import Turn

REQUEST_STATES = ("running", "waiting", "rotary")
UNKNOWN = "-"


class Phase(StrEnum):
    """Where the runtime's process stands."""

    STARTING = "starting"
    LOADING = "loading the model"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class View:
    """All that the status shows."""

    name: str
    mode: str
    url: str
    classes: Sequence[SloClass]
    phase: Phase
    restarts: int = 0
    turn: Turn | None = None  # of the one replica that `up` runs


def table(view: View) -> RenderableType:
    """Return the live table."""
    head = Text.assemble((view.name, "bold"), f"  {view.phase}  {view.url}  mode {view.mode}")
    if view.restarts:
        head.append(f"  {view.restarts} restarts")
    if view.turn is None:
        return head
    seen, decision = view.turn.views[0], view.turn.decision
    parts: list[RenderableType] = [head, _classes(view, seen.snapshot)]
    if seen.budget is not None:
        parts.append(_tiers(seen.budget, seen.snapshot))
    parts.append(Text(_requests(seen.snapshot)))
    parts.append(Text(f"last decision: {decision.rung}, {decision.reason}"))
    if view.turn.trouble:
        parts.append(Text(view.turn.trouble, style="yellow"))
    return Group(*parts)


def line(view: View) -> str:
    """Return the same in one line for a log."""
    parts = [f"{view.name}: {view.phase}"]
    turn = view.turn
    if turn is None:
        return f"{parts[0]}, {view.url}"
    budget = turn.views[0].budget
    if budget is not None:
        for tier, held in ((Tier.DRAM, budget.dram), (Tier.HBM, budget.hbm)):
            parts.append(
                f"{tier.upper()} {format_bytes(held.in_use_bytes)} of "
                f"{format_bytes(held.allocated_bytes)}"
            )
    parts.append(f"{turn.decision.rung}: {turn.decision.reason}")
    if turn.trouble:
        parts.append(turn.trouble)
    return " | ".join(parts)


def as_json(view: View) -> str:
    """Return the state for a program: phase, classes, budgets and what they did, last decision."""
    turn = view.turn
    seen = turn.views[0] if turn is not None else None
    decision = turn.decision if turn is not None else None
    return json.dumps(
        {
            "name": view.name,
            "phase": view.phase,
            "url": view.url,
            "restarts": view.restarts,
            "slo": [
                {
                    "class": slo_class.name,
                    "target": slo_class.target,
                    **{objective: _counts(seen, slo_class, objective) for objective in Objective},
                }
                for slo_class in view.classes
            ],
            "kv": seen.budget.model_dump() if seen is not None and seen.budget else None,
            "last_decision": decision and {"rung": decision.rung, "reason": decision.reason},
        }
    )


def _counts(
    seen: ReplicaView | None, slo_class: SloClass, objective: Objective
) -> dict[str, float] | None:
    share = seen.snapshot.shares.get((slo_class.name, objective)) if seen is not None else None
    return None if share is None else {"good": share.good, "total": share.total}


def topic(view: View) -> tuple[object, ...]:
    """Return what must differ for a new line to be worth writing: not every number."""
    turn = view.turn
    if turn is None:
        return (view.phase, view.restarts)
    budget = turn.views[0].budget
    sizes = budget and (budget.dram.allocated_bytes, budget.hbm.allocated_bytes)
    return (view.phase, view.restarts, sizes, turn.decision.topic, bool(turn.trouble))


def _classes(view: View, snapshot: Snapshot) -> Table:
    grid = Table("class", "target", "TTFT", "TBT", "both", "judged", "lag")
    for slo_class in view.classes:
        shares = [snapshot.shares.get((slo_class.name, objective)) for objective in Objective]
        lag_s = snapshot.gauge(SLO_MAX_LAG, slo_class.name)
        grid.add_row(
            slo_class.name,
            f"{slo_class.target:.0%}",
            *(_percent(share.attainment if share else None) for share in shares),
            str(max((share.total for share in shares if share), default=0)),
            UNKNOWN if lag_s is None else f"{lag_s:.2f} s",
        )
    return grid


def _tiers(budget: KvBudget, snapshot: Snapshot) -> Table:
    grid = Table("KV", "budget", "used", "headroom", "wished")
    for tier, held in ((Tier.HBM, budget.hbm), (Tier.DRAM, budget.dram)):
        grid.add_row(tier.upper(), *_sizes(held, snapshot.gauge(KV_HEADROOM, tier)))
    return grid


def _sizes(held: TierState, headroom_bytes: float | None) -> list[str]:
    return [
        format_bytes(held.allocated_bytes),
        format_bytes(held.in_use_bytes),
        UNKNOWN if headroom_bytes is None else format_bytes(max(0, int(headroom_bytes))),
        format_bytes(held.desired_bytes) if held.pending else "",
    ]


def _requests(snapshot: Snapshot) -> str:
    states = [f"{state} {int(snapshot.gauge(REQUESTS, state) or 0)}" for state in REQUEST_STATES]
    moved = [
        f"{direction} {snapshot.rate(ROTATIONS, direction):.1f}/s, "
        f"{format_bytes(int(snapshot.rate(ROTATION_BYTES, direction)))}/s"
        for direction in Direction
    ]
    return f"requests: {', '.join(states)}; rotations: {'; '.join(moved)}"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.0%}"
