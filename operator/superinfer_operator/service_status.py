"""``status`` of a SuperInferService: pure, from what was seen and decided.

`weighty` tells which part of it is worth an API call at once; the rest (counts, bytes in use)
changes with every look and is written at leisure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from superinfer_contract.metrics import Objective
from superinfer_contract.quantity import format_bytes
from superinfer_contract.service import SuperInferService

from superinfer_operator import service_health, workload_health
from superinfer_operator.children import Children
from superinfer_operator.conditions import ConditionType
from superinfer_operator.crd.status import MAX_PODS, MAX_SENTENCE
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.view import TierView
from superinfer_operator.objects.naming import Object, selector_text
from superinfer_operator.objects.network import url
from superinfer_operator.replica import ReplicaView
from superinfer_operator.transitions import Condition, as_status, timestamp
from superinfer_operator.turn import Outcome, Turn
from superinfer_operator.wish import Wish

VOLATILE = {"slo", "attainment", "pods"}
VOLATILE_OF_TIER = {"inUseBytes", "summary"}


def said(decision: Decision, outcome: Outcome, now: datetime) -> Object:
    """Return ``status.lastDecision``."""
    return {
        "rung": decision.rung.value,
        "reason": decision.reason[:MAX_SENTENCE],
        "outcome": outcome.value,
        "time": timestamp(now),
    }


@dataclass(frozen=True, slots=True)
class Looked:
    """All that one look at a service found."""

    sis: SuperInferService
    children: Children
    turn: Turn | None
    wish: Wish | None
    last_decision: Mapping[str, Any] | None
    last_resize: str | None


def conditions(looked: Looked, problem: str = "", planned: str = "") -> list[Condition]:
    """Return all conditions.

    ``problem`` says that children could not be applied; ``planned`` what would be, in Plan mode.
    """
    found = workload_health.conditions(looked.sis.metadata.name, looked.children)
    found += service_health.conditions(looked.sis.spec, looked.turn)
    instead: dict[ConditionType, Condition] = {}
    if problem:
        instead[ConditionType.DEGRADED] = Condition(
            ConditionType.DEGRADED, True, "ApplyFailed", problem
        )
    if planned:
        instead[ConditionType.PROGRESSING] = Condition(
            ConditionType.PROGRESSING, False, "PlanOnly", planned
        )
    return [instead.get(each.type, each) for each in found]


def build(
    looked: Looked, found: Iterable[Condition], before: Mapping[str, Any], now: datetime
) -> Object:
    """Return the whole status."""
    sis = looked.sis
    replicas = workload_health.count(sis.metadata.name, looked.children)
    status: Object = {
        "observedGeneration": sis.metadata.generation,
        "conditions": as_status(
            found, before.get("conditions") or (), sis.metadata.generation, now
        ),
        "replicas": replicas.present,
        "readyReplicas": replicas.ready,
        "updatedReplicas": replicas.updated,
        "selector": selector_text(sis),
        "url": url(sis),
        "lastDecision": looked.last_decision,
        "wish": looked.wish.as_json() if looked.wish is not None else None,
    }
    turn = looked.turn
    if turn is not None and turn.seen.tiers:
        status["kvCache"] = {
            **{tier.value: _tier(held) for tier, held in turn.seen.tiers.items()},
            "lastResizeTime": looked.last_resize,
        }
        status["classShares"] = dict(turn.wish.class_shares)
        status["slo"] = _slo(sis, turn)
        status["attainment"] = _attainment(status["slo"])
        status["pods"] = [_pod(view) for view in turn.views[:MAX_PODS]]
    return status


def invalid(
    generation: int, found: Iterable[Condition], before: Mapping[str, Any], now: datetime
) -> Object:
    """Return the status of a service that cannot be served as it is written: ``found`` says why."""
    written = as_status(found, before.get("conditions") or (), generation, now)
    told = {each["type"] for each in written}
    kept = [each for each in before.get("conditions") or () if each["type"] not in told]
    return {**before, "observedGeneration": generation, "conditions": [*written, *kept]}


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """Return all of ``after``, and null for what ``before`` had beyond it."""
    patch: Object = {key: None for key in before if key not in after}
    for key, value in after.items():
        former = before.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping):
            patch[key] = merge_patch(former, value)
        else:
            patch[key] = value
    return patch


def weighty(status: Mapping[str, Any]) -> Object:
    """Return ``status`` without what changes with every look."""
    kept = {key: value for key, value in status.items() if key not in VOLATILE}
    if isinstance(kept.get("kvCache"), Mapping):
        kept["kvCache"] = {
            name: {key: value for key, value in tier.items() if key not in VOLATILE_OF_TIER}
            if isinstance(tier, Mapping)
            else tier
            for name, tier in kept["kvCache"].items()
        }
    kept["conditions"] = [
        {key: each.get(key) for key in ("type", "status", "reason", "observedGeneration")}
        for each in kept.get("conditions") or ()
    ]
    if isinstance(kept.get("lastDecision"), Mapping):
        decided = kept["lastDecision"]
        kept["lastDecision"] = {key: decided.get(key) for key in ("rung", "outcome")}
    return kept


def _tier(held: TierView) -> Object:
    return {
        "minBytes": held.min_bytes,
        "maxBytes": held.max_bytes,
        "desiredBytes": held.desired_bytes,
        "allocatedBytes": held.allocated_bytes,
        "inUseBytes": held.in_use_bytes,
        "summary": f"{format_bytes(held.in_use_bytes)} of {format_bytes(held.allocated_bytes)}",
    }


def _slo(sis: SuperInferService, turn: Turn) -> list[Object]:
    judged = {(each.slo_class, each.objective): each for each in turn.seen.judged}
    entries: list[Object] = []
    for slo_class in sis.spec.slo_classes:
        entry: Object = {"class": slo_class.name, "target": slo_class.target}
        for objective in Objective:
            counted = judged.get((slo_class.name, objective))
            if counted is not None and counted.total:
                entry[objective.value] = {
                    "good": counted.good,
                    "total": counted.total,
                    "attainment": round(counted.good / counted.total, 4),
                }
        entries.append(entry)
    return entries


def _attainment(slo: Iterable[Mapping[str, Any]]) -> str:
    joint = {each["class"]: each.get(Objective.JOINT.value) for each in slo}
    return ", ".join(
        f"{name} {counted['attainment']:.0%}" if counted else f"{name} -"
        for name, counted in joint.items()
    )


def _pod(view: ReplicaView) -> Object:
    state = "Silent" if view.silent else "Ready" if view.ready else "NotReady"
    said = view.trouble or (f"{view.refusal.kind}: {view.refusal.message}" if view.refusal else "")
    held = view.budget.dram if view.budget is not None else None
    return {
        "name": view.name,
        "state": state,
        "message": said[:MAX_SENTENCE] or None,
        "dramAllocatedBytes": held.allocated_bytes if held else None,
    }
