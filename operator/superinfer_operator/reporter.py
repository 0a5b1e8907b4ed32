"""What one service's keeper says: the status, when it is worth an API call, and Events.

An Event tells a transition, never a state: nobody wants to read every few seconds that all is well.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from superinfer_contract.service import SuperInferService

from superinfer_operator import service_status, workload_health
from superinfer_operator.children import Children
from superinfer_operator.conditions import ConditionType
from superinfer_operator.kube.client import NOT_FOUND, Kube, KubeError
from superinfer_operator.ladder.move import Rung
from superinfer_operator.objects.naming import Object
from superinfer_operator.objects.network import url
from superinfer_operator.self_telemetry import OperatorMetrics
from superinfer_operator.status_page.board import Board, Look
from superinfer_operator.transitions import Condition, events, timestamp
from superinfer_operator.turn import Outcome, Turn

LOG = logging.getLogger(__name__)

VOLATILE_EVERY_S = 60.0


class Announce(Protocol):
    """Posts an Event about the service."""

    def __call__(self, kind: str, reason: str, message: str) -> None: ...


class Reporter:
    """Remembers what was written last; starts from the status that an earlier operator left."""

    def __init__(
        self,
        namespace: str,
        name: str,
        kube: Kube,
        metrics: OperatorMetrics,
        announce: Announce,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        status: Mapping[str, Any],
        board: Board | None = None,
    ) -> None:
        self._namespace, self._name = namespace, name
        self._kube = kube
        self._metrics = metrics
        self._announce = announce
        self._clock = clock
        self._now = now
        self._board = board
        self._written: Mapping[str, Any] = dict(status)
        self._written_s = 0.0
        self._last_decision = status.get("lastDecision")
        self._last_resize = (status.get("kvCache") or {}).get("lastResizeTime")
        self._decided: tuple[object, ...] | None = None

    async def say(
        self, sis: SuperInferService, children: Children, turn: Turn, problem: str, planned: str
    ) -> None:
        """Report one look: Events for what changed, and the status."""
        self._note(turn)
        looked = service_status.Looked(
            sis, children, turn, turn.wish, self._last_decision, self._last_resize
        )
        found = service_status.conditions(looked, problem, planned)
        self._announce_transitions(found)
        if self._board is not None:
            replicas = workload_health.count(self._name, children)
            counts = replicas.wanted, replicas.ready
            self._board.looked(self._key, Look(found, sis.spec, turn, url(sis), *counts))
        await self._write(service_status.build(looked, found, self._written, self._now()))

    async def say_invalid(self, generation: int, reason: str, said: str) -> None:
        """Report a spec that cannot be served; the pods go on as they are."""
        found = [Condition(ConditionType.READY, False, reason, said)]
        self._announce_transitions(found)
        if self._board is not None:
            self._board.looked(self._key, Look(found))
        await self._write(service_status.invalid(generation, found, self._written, self._now()))

    @property
    def _key(self) -> str:
        return f"{self._namespace}/{self._name}"

    def _announce_transitions(self, found: list[Condition]) -> None:
        for condition in events(found, self._written.get("conditions") or ()):
            self._announce(
                "Warning" if condition.is_bad else "Normal",
                condition.reason,
                f"{condition.type} is {condition.status_text}: {condition.message}",
            )

    def _note(self, turn: Turn) -> None:
        decision, now = turn.decision, self._now()
        if decision.ended is not None and decision.landed:
            self._last_resize = timestamp(now)
        topic = (decision.topic, turn.outcome)
        if topic == self._decided:
            return
        self._decided = topic
        self._metrics.decided(decision.rung, turn.outcome)
        if decision.rung is Rung.HOLD and self._last_decision is not None:
            return
        self._last_decision = service_status.said(decision, turn.outcome, now)
        failed = turn.outcome is Outcome.REFUSED or decision.rung is Rung.EXHAUSTED
        if failed or turn.outcome is not Outcome.NO_CHANGE:
            self._announce("Warning" if failed else "Normal", decision.rung, decision.reason)

    async def _write(self, status: Object) -> None:
        """Write the status if something weighty changed, or the rest has waited long enough."""
        now_s, before = self._clock(), self._written
        weighty = service_status.weighty(status) != service_status.weighty(before)
        waited = now_s - self._written_s >= VOLATILE_EVERY_S
        if not weighty and not (waited and status != before):
            return
        patch = service_status.merge_patch(before, status)
        try:
            await self._kube.write_status(self._namespace, self._name, patch)
        except KubeError as error:
            if error.code != NOT_FOUND:  # deleted in the meantime
                LOG.warning("%s/%s: %s", self._namespace, self._name, error)
            return
        self._written, self._written_s = status, now_s
