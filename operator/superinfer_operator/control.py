"""One turn of the loop over one runtime: look, decide, carry out, write down.

`Controller.turn` is the only place where a decision meets the network. The ladder's memory lives
here; a new runtime process gets a new controller, because its budgets start anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

from superinfer_contract.kv_budget import KvBudget

from superinfer_operator.budget import decide, refused
from superinfer_operator.budget_model import Decision, LadderState
from superinfer_operator.events import EventLog, Outcome
from superinfer_operator.observe import observed, rules
from superinfer_operator.runtime_client import RuntimeClient, RuntimeRefused, RuntimeUnreachable
from superinfer_operator.spec import SuperInferService
from superinfer_operator.telemetry.points import Source
from superinfer_operator.telemetry.windows import Snapshot, Windows

Clock = Callable[[], float]
"""A steady clock in seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn saw and did. ``trouble`` is set when the runtime did not answer well."""

    snapshot: Snapshot
    budget: KvBudget | None = None
    decision: Decision | None = None
    outcome: Outcome | None = None
    trouble: str = ""


class Controller:
    """Keeps the KV budgets of one running runtime where its objectives need them."""

    def __init__(
        self,
        service: SuperInferService,
        runtime: RuntimeClient,
        windows: Windows,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._name = service.metadata.name
        self._rules = rules(service.spec)
        self._runtime = runtime
        self._windows = windows
        self._events = events
        self._clock = clock
        self._state = LadderState()

    async def turn(self) -> Turn:
        """Look at the runtime once and do what the ladder says; never raises for its faults."""
        snapshot = self._snapshot()
        try:
            budget = await self._runtime.get_budget()
        except (RuntimeUnreachable, RuntimeRefused) as error:
            return Turn(snapshot, trouble=str(error))
        decision = decide(self._rules, observed(snapshot, budget), self._state, self._clock())
        self._state = decision.state
        if decision.ended is not None:
            tier = decision.ended.tier
            self._events.ended(
                decision.ended, decision.landed, getattr(budget, tier).allocated_bytes
            )
        return await self._carry_out(decision, snapshot, budget)

    async def _carry_out(self, decision: Decision, snapshot: Snapshot, budget: KvBudget) -> Turn:
        patch = decision.patch()
        outcome, trouble = Outcome.NO_CHANGE, ""
        if patch is not None:
            try:
                budget = await self._runtime.patch_budget(patch)
                outcome = Outcome.SENT
            except (RuntimeUnreachable, RuntimeRefused) as error:
                outcome, trouble = Outcome.REFUSED, str(error)
                self._state = refused(self._rules, self._state, self._clock())
        elif decision.to_bytes is not None:
            outcome = Outcome.PLANNED
        self._events.decided(decision, outcome, trouble)
        return Turn(snapshot, budget, decision, outcome, trouble)

    def _snapshot(self) -> Snapshot:
        """The freshest process of the service: after a restart the old one may linger."""
        now_s = self._clock()
        sources = self._windows.sources(self._name) or [Source(self._name, "")]
        found = [self._windows.snapshot(source, now_s) for source in sources]
        return min(found, key=lambda each: float("inf") if each.age_s is None else each.age_s)
