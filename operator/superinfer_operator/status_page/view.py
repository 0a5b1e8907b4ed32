"""What the page says, as plain data in plain units: pure, from the board's entries.

A ``tone`` tells a person where to look: ``good``, ``bad``, or nothing to say. The JSON twin of the
page is these fields as they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from superinfer_contract.kv_budget import TierState
from superinfer_contract.metrics import REQUESTS, Objective, Tier
from superinfer_contract.slo import SloClass

from superinfer_operator.conditions import ConditionType
from superinfer_operator.observe import shares
from superinfer_operator.replica import ReplicaView
from superinfer_operator.status_page.board import Entry, Look
from superinfer_operator.status_page.history import SPAN_S, StepTaken
from superinfer_operator.telemetry.windows import Share
from superinfer_operator.transitions import Condition

MAX_REPLICAS = 64
"""Replicas shown of one service; how many more there are is said."""


class Tone(StrEnum):
    """Where to look."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class ConditionShown:
    type: str
    status: str
    reason: str
    message: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Point:
    """Joint attainment so long ago; None: no request was judged then."""

    age_s: float
    attained: float | None


@dataclass(frozen=True, slots=True)
class ClassShown:
    """One SLO class: what it was promised and what it got within the window."""

    name: str
    ttft_s: float
    tbt_s: float
    target: float
    attained: Mapping[Objective, float | None]
    judged: int
    tone: Tone
    lately: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class TierShown:
    min_bytes: int
    max_bytes: int
    desired_bytes: int
    allocated_bytes: int
    in_use_bytes: int


@dataclass(frozen=True, slots=True)
class ReplicaShown:
    name: str
    state: str
    message: str
    tone: Tone
    tiers: Mapping[Tier, TierShown]
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ServiceShown:
    name: str
    tone: Tone
    mode: str
    url: str
    seen_age_s: float
    window_s: float
    replicas: int
    ready_replicas: int
    conditions: tuple[ConditionShown, ...]
    classes: tuple[ClassShown, ...]
    pods: tuple[ReplicaShown, ...]
    pods_not_shown: int
    decides: str
    steps: tuple[StepTaken, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Services that need a person first, then by name."""

    time: datetime
    history_s: float
    services: tuple[ServiceShown, ...]


def page(entries: Mapping[str, Entry], now_s: float, now: datetime) -> Page:
    """Return what is to be shown of ``entries``."""
    shown = [_service(name, entry, now_s) for name, entry in entries.items()]
    shown.sort(key=lambda service: (service.tone is not Tone.BAD, service.name))
    return Page(now, SPAN_S, tuple(shown))


def _service(name: str, entry: Entry, now_s: float) -> ServiceShown:
    look, turn = entry.look, entry.look.turn
    conditions = tuple(_condition(each) for each in look.conditions)
    return ServiceShown(
        name=name,
        tone=_tone(look.conditions),
        mode=look.spec.mode if look.spec is not None else "",
        url=look.url,
        seen_age_s=max(0.0, now_s - entry.seen_s),
        window_s=look.spec.budget.window_s if look.spec is not None else 0.0,
        replicas=look.replicas,
        ready_replicas=look.ready_replicas,
        conditions=conditions,
        classes=_classes(look, entry, now_s),
        pods=tuple(_replica(each) for each in turn.views[:MAX_REPLICAS]) if turn else (),
        pods_not_shown=max(0, len(turn.views) - MAX_REPLICAS) if turn else 0,
        decides=f"{turn.decision.rung}: {turn.decision.reason}" if turn else "",
        steps=tuple(reversed(entry.history.steps)),
    )


def _tone(conditions: Iterable[Condition]) -> Tone:
    """Bad if any condition is; good only if the service is known to be ready."""
    if any(each.is_bad for each in conditions):
        return Tone.BAD
    ready = any(each.type is ConditionType.READY and each.status is True for each in conditions)
    return Tone.GOOD if ready else Tone.NEUTRAL


def _condition(condition: Condition) -> ConditionShown:
    wanted = condition.type not in (ConditionType.DEGRADED, ConditionType.PROGRESSING)
    good = wanted and condition.status is True
    tone = Tone.BAD if condition.is_bad else Tone.GOOD if good else Tone.NEUTRAL
    return ConditionShown(
        condition.type.value, condition.status_text, condition.reason, condition.message, tone
    )


def _classes(look: Look, entry: Entry, now_s: float) -> tuple[ClassShown, ...]:
    if look.spec is None:
        return ()
    heard = [view for view in look.turn.views if not view.silent] if look.turn else []
    judged, enough = shares(heard), look.spec.budget.min_events
    return tuple(
        _class(
            slo_class,
            {each: judged.get((slo_class.name, each), Share(0, 0)) for each in Objective},
            enough,
            tuple(
                Point(max(0.0, now_s - sample.time_s), sample.attained[slo_class.name])
                for sample in entry.history.samples
                if slo_class.name in sample.attained and now_s - sample.time_s <= SPAN_S
            ),
        )
        for slo_class in look.spec.slo_classes
    )


def _class(
    slo_class: SloClass, got: Mapping[Objective, Share], enough: int, lately: tuple[Point, ...]
) -> ClassShown:
    joint = got[Objective.JOINT]
    known = [share.attainment for share in got.values() if share.total >= enough]
    late = any(each is not None and each < slo_class.target for each in known)
    tone = Tone.BAD if late else Tone.GOOD if joint.total >= enough else Tone.NEUTRAL
    return ClassShown(
        name=slo_class.name,
        ttft_s=slo_class.ttft_s,
        tbt_s=slo_class.tbt_s,
        target=slo_class.target,
        attained={objective: share.attainment for objective, share in got.items()},
        judged=joint.total,
        tone=tone,
        lately=lately,
    )


def _replica(view: ReplicaView) -> ReplicaShown:
    state = "silent" if view.silent else "ready" if view.ready else "not ready"
    refusal = str(view.refusal) if view.refusal is not None else ""
    counted = {
        state: view.snapshot.gauge(REQUESTS, state) for state in ("running", "waiting", "rotary")
    }
    budget = view.budget
    bad = view.silent or bool(view.trouble or refusal)
    return ReplicaShown(
        name=view.name,
        state=state,
        message=view.trouble or refusal,
        tone=Tone.BAD if bad else Tone.GOOD if view.ready else Tone.NEUTRAL,
        tiers={Tier.HBM: _tier(budget.hbm), Tier.DRAM: _tier(budget.dram)} if budget else {},
        requests={name: int(count) for name, count in counted.items() if count is not None},
    )


def _tier(held: TierState) -> TierShown:
    return TierShown(
        min_bytes=held.min_bytes,
        max_bytes=held.max_bytes,
        desired_bytes=held.desired_bytes,
        allocated_bytes=held.allocated_bytes,
        in_use_bytes=held.in_use_bytes,
    )
