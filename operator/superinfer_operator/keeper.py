"""One service's loop: look, reconcile, decide, say; again at every poke and every few seconds.

`Keeper.round` is level-triggered: it may be called at any time, any number of times, after any
failure or restart, and works from what is there. Nothing but the ladder's memory of its last steps
lives here alone; what must outlive the operator stands in the object's status.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import describe

from superinfer_operator.children import Children
from superinfer_operator.control import Controller
from superinfer_operator.kube.applied import Applied, key_of
from superinfer_operator.kube.client import Kube, KubeError
from superinfer_operator.objects.platform import Platform
from superinfer_operator.observe import stale_s
from superinfer_operator.plan import Plan, plan
from superinfer_operator.reporter import Announce, Reporter
from superinfer_operator.runtimes import Runtimes
from superinfer_operator.self_telemetry import OperatorMetrics, OperatorTraces
from superinfer_operator.signing import SigningKeys
from superinfer_operator.status_page.board import Board
from superinfer_operator.telemetry.points import Source
from superinfer_operator.telemetry.registry import Registry, TooManyServices
from superinfer_operator.trust import Authorities
from superinfer_operator.turn import Turn
from superinfer_operator.wish import Wish

LOG = logging.getLogger(__name__)

RECONCILE_EVERY_S = 15.0
RETRY_S = 2.0
SHORTEST_PAUSE_S = 1.0
"""However often a service's runtimes report: one service must not keep the operator busy."""
WATCHED_KINDS = frozenset(
    {"Deployment", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy"}
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all keepers share."""

    kube: Kube
    platform: Callable[[], Platform]
    signing: SigningKeys
    trust: Authorities
    registry: Registry
    metrics: OperatorMetrics
    traces: OperatorTraces
    clock: Callable[[], float]
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    board: Board | None = None  # where services are shown, if that is wanted


class Keeper:
    """Keeps one service as its object says; ``key`` is ``namespace/name``."""

    def __init__(
        self,
        namespace: str,
        name: str,
        shared: Surroundings,
        announce: Announce,
        status: Mapping[str, Any],
    ) -> None:
        self.key = f"{namespace}/{name}"
        self.generation = 0
        self.silent_pods = 0
        self.controller: Controller | None = None
        self.share_group: str | None = None
        self._namespace, self._name = namespace, name
        self._shared = shared
        self._applied = Applied(WATCHED_KINDS)
        self._runtimes = Runtimes(namespace, name, shared.kube, shared.signing, shared.trust)
        self._reporter = Reporter(
            namespace,
            name,
            shared.kube,
            shared.metrics,
            announce,
            shared.clock,
            shared.now,
            status,
            shared.board,
        )
        self._restored = _restored(status)
        self._read: tuple[int, SuperInferService] | None = None
        self._reconciled_s: float | None = None
        self._planned = ""

    async def round(
        self, body: Mapping[str, Any], children: Children, neighbours: list[Controller], poked: bool
    ) -> float:
        """Look and act once; returns the seconds until the next round is due."""
        self.generation = int(body["metadata"].get("generation", 0))
        try:
            sis = self._spec_of(body)
        except ValidationError as error:
            await self._reporter.say_invalid(self.generation, "InvalidSpec", describe(error))
            return RECONCILE_EVERY_S
        except TooManyServices as error:
            await self._reporter.say_invalid(self.generation, "TooManyServices", str(error))
            return RECONCILE_EVERY_S
        with self._shared.traces.turn(self.key):
            turn = await self._turn(sis, children, neighbours)
        problem = ""
        if poked or self._is_due():
            with self._shared.traces.reconcile(self.key):
                problem = await self._reconcile(sis, children)
        await self._reporter.say(sis, children, turn, problem, self._planned)
        if problem:
            return RETRY_S
        return min(max(sis.spec.telemetry.interval_s, SHORTEST_PAUSE_S), RECONCILE_EVERY_S)

    async def close(self) -> None:
        """Let go of all connections; the service is gone, or the operator ends."""
        self._shared.registry.unregister(self.key)
        if self._shared.board is not None:
            self._shared.board.forget(self.key)
        await self._runtimes.close()

    def _spec_of(self, body: Mapping[str, Any]) -> SuperInferService:
        """Read the spec, if it changed, and bring the ladder and the windows up to date."""
        if self._read is not None and self._read[0] == self.generation:
            return self._read[1]
        sis = SuperInferService.model_validate(
            {key: body[key] for key in ("apiVersion", "kind", "metadata")}
            | {"spec": dict(body.get("spec") or {})}
        )
        windows = self._shared.registry.register(
            self.key, sis.spec.budget.window_s, stale_s(sis.spec)
        )
        if self.controller is None:
            self.controller = Controller(
                sis,
                lambda pod, now_s: windows.snapshot(Source(self.key, pod), now_s),
                self._shared.clock,
                self._restored,
            )
        else:
            self.controller.update(sis)
        self._read = (self.generation, sis)
        self._reconciled_s = None
        self.share_group = sis.spec.placement.share_group
        return sis

    async def _turn(
        self, sis: SuperInferService, children: Children, neighbours: list[Controller]
    ) -> Turn:
        assert self.controller is not None
        replicas = await self._runtimes.replicas(sis, children.pods)
        windows = self._shared.registry.windows(self.key)
        if windows is not None:
            windows.keep_only({replica.name for replica in replicas})
        turn = await self.controller.turn(replicas, neighbours)
        for resize in turn.resizes:
            await self._runtimes.resize(resize)
        self.silent_pods = sum(view.silent for view in turn.views)
        return turn

    def _is_due(self) -> bool:
        now_s = self._shared.clock()
        return self._reconciled_s is None or now_s - self._reconciled_s >= RECONCILE_EVERY_S

    async def _reconcile(self, sis: SuperInferService, children: Children) -> str:
        """Apply what differs; returns what went wrong in words."""
        assert self.controller is not None
        started_s = self._shared.clock()
        wanted = plan(
            sis,
            children,
            self._shared.platform(),
            self._shared.signing.tokens(self._namespace, self._name),
            self.controller.wish.replicas,
        )
        problem, self._planned = "", ""
        if sis.spec.mode == "Plan":
            self._planned = _in_words(wanted, children)
        else:
            try:
                await self._carry_out(wanted, children)
            except KubeError as error:
                LOG.warning("%s: %s", self.key, error)
                problem = str(error)
        now_s = self._shared.clock()
        self._reconciled_s = None if problem else now_s
        self._shared.metrics.reconciled("error" if problem else "ok", now_s - started_s)
        return problem

    async def _carry_out(self, wanted: Plan, children: Children) -> None:
        kube, now_s = self._shared.kube, self._shared.clock()
        if wanted.hand_over_replicas is not None:
            await kube.hand_over_replicas(self._namespace, self._name, wanted.hand_over_replicas)
        for obj in wanted.apply:
            seen = children.named(*key_of(obj))
            if not self._applied.is_current(obj, seen, now_s):
                self._applied.note(obj, await kube.apply(obj), now_s)
        for kind, name in wanted.delete:
            await kube.delete(kind, self._namespace, name)
            self._applied.forget((kind, name))


def _in_words(wanted: Plan, children: Children) -> str:
    """Say what a plan would do, without knowing whether applying changes what is there."""
    keys = [key_of(obj) for obj in wanted.apply]
    create = [" ".join(key) for key in keys if children.named(*key) is None]
    keep = [" ".join(key) for key in keys if children.named(*key) is not None]
    parts = {
        "create": create,
        "keep up to date": keep,
        "delete": [" ".join(key) for key in wanted.delete],
    }
    said = "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts.items() if names)
    return f"mode is Plan, nothing is changed; Auto would {said}"


def _restored(status: Mapping[str, Any]) -> Wish | None:
    """Return the wish that an earlier operator left in the status."""
    if not status.get("wish"):
        return None
    try:
        return Wish.model_validate(status["wish"])
    except ValidationError:
        return None
