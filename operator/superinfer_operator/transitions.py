"""Conditions from one look to the next: when each last changed, and what is worth an Event."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from superinfer_operator.conditions import ConditionType

MAX_MESSAGE = 1024
ON_THE_WAY = frozenset({"Starting", "RollingOut", "NoReplicas", "PlanOnly"})
"""Reasons that are no fault: things take their time, or somebody wants it so."""
STUCK = "Stuck"
"""Reason of a rollout that makes no progress."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement about a service; ``status`` None is written as Unknown."""

    type: ConditionType
    status: bool | None
    reason: str
    message: str

    @property
    def status_text(self) -> str:
        return "Unknown" if self.status is None else str(self.status)

    @property
    def is_bad(self) -> bool:
        """Whether a person should look: an Event about it is a warning."""
        if self.type is ConditionType.DEGRADED:
            return self.status is True
        if self.type is ConditionType.PROGRESSING:
            return self.reason == STUCK
        return self.status is False and self.reason not in ON_THE_WAY


def as_status(
    conditions: Iterable[Condition],
    before: Iterable[Mapping[str, Any]],
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return ``status.conditions``; the transition times of unchanged statuses are kept."""
    known = {condition.get("type"): condition for condition in before}
    written = []
    for condition in conditions:
        last = known.get(condition.type, {})
        same = last.get("status") == condition.status_text
        written.append(
            {
                "type": condition.type.value,
                "status": condition.status_text,
                "reason": condition.reason,
                "message": condition.message[:MAX_MESSAGE],
                "observedGeneration": generation,
                "lastTransitionTime": last["lastTransitionTime"] if same else timestamp(now),
            }
        )
    return written


def events(conditions: Iterable[Condition], before: Iterable[Mapping[str, Any]]) -> list[Condition]:
    """Return the conditions worth an Event: those that turned true or false.

    The first sight of a service is no transition. Nor is Unknown, nor that what was unknown turns
    out to be well: traffic that comes and goes would say so all day.
    """
    known = {condition.get("type"): condition.get("status") for condition in before}
    return [
        condition
        for condition in conditions
        if condition.status is not None
        and known.get(condition.type) not in (None, condition.status_text)
        and (known[condition.type] != "Unknown" or condition.is_bad)
    ]


def timestamp(now: datetime) -> str:
    """Write a time as Kubernetes does."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
