"""Conditions that follow from what a service's runtimes report: pure.

``turn`` None means that no runtime was asked yet; nothing is claimed then.
"""

from superinfer_contract.metrics import Objective, Tier
from superinfer_contract.quantity import format_bytes
from superinfer_contract.service import ServiceSpec

from superinfer_operator.conditions import ConditionType
from superinfer_operator.ladder.decide import CAUSES
from superinfer_operator.ladder.pressure import missed, say_missed
from superinfer_operator.ladder.rules import LEVER
from superinfer_operator.observe import rules
from superinfer_operator.transitions import Condition
from superinfer_operator.turn import Turn

NO_RUNTIME = "no runtime is ready to be asked"


def conditions(spec: ServiceSpec, turn: Turn | None) -> list[Condition]:
    """Return TelemetryAvailable, SLOSatisfied and KVBudgetResized."""
    if turn is None or not any(view.ready for view in turn.views):
        return [
            Condition(each, None, "NoRuntime", NO_RUNTIME)
            for each in (
                ConditionType.TELEMETRY_AVAILABLE,
                ConditionType.SLO_SATISFIED,
                ConditionType.KV_BUDGET_RESIZED,
            )
        ]
    return [_telemetry(turn), _slo(spec, turn), _budget(turn)]


def _telemetry(turn: Turn) -> Condition:
    ready = [view for view in turn.views if view.ready]
    silent = [view.name for view in ready if view.silent]
    kind = ConditionType.TELEMETRY_AVAILABLE
    if not silent:
        said = f"all {len(ready)} ready replicas report"
        return Condition(kind, True, "AllReplicasReport", said)
    said = f"no recent telemetry from {', '.join(silent)}"
    if len(silent) < len(ready):
        return Condition(kind, False, "SomeReplicasSilent", f"{said}; decisions go by the others")
    return Condition(kind, False, "NoTelemetry", f"{said}; budgets stay as they are")


def _slo(spec: ServiceSpec, turn: Turn) -> Condition:
    kind = ConditionType.SLO_SATISFIED
    own = rules(spec)
    late = missed(own, turn.seen)
    if late:
        return Condition(kind, False, "ObjectivesMissed", say_missed(own, late[0]))
    judged = sum(each.total for each in turn.seen.judged if each.objective is Objective.JOINT)
    if judged == 0:
        return Condition(kind, None, "NoTraffic", f"no request ended within {own.window_s:g} s")
    said = f"all classes with {own.min_events} or more requests are within their targets"
    return Condition(kind, True, "ObjectivesMet", said)


def _budget(turn: Turn) -> Condition:
    kind = ConditionType.KV_BUDGET_RESIZED
    for view in turn.views:
        if view.distrust:
            return Condition(kind, False, view.distrust, f"{view.name}: {view.trouble}")
    deaf = [view for view in turn.views if view.ready and view.budget is None]
    if deaf:
        said = "; ".join(f"{view.name}: {view.trouble}" for view in deaf)
        return Condition(kind, None, "RuntimeUnreachable", said)
    for tier in Tier:
        rest = turn.resting.get(LEVER[tier])
        if rest is not None:
            return Condition(kind, False, rest.cause, f"{tier.upper()}: {rest.message}")
    refusal = turn.seen.refusal
    if refusal is not None:
        return Condition(kind, False, CAUSES[refusal.kind], refusal.message)
    moving = [tier for tier, held in turn.seen.tiers.items() if held.pending]
    if moving:
        said = ", ".join(
            f"{tier.upper()} {format_bytes(turn.seen.tiers[tier].allocated_bytes)} -> "
            f"{format_bytes(turn.seen.tiers[tier].desired_bytes)}"
            for tier in moving
        )
        return Condition(kind, None, "Resizing", said)
    return Condition(kind, True, "AsWished", "every replica holds the budgets that are wished for")
