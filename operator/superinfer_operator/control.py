"""The loop over one service's replicas: look, decide, carry out, tell.

`Controller.turn` is the only place where a decision meets the network. It patches the runtimes by
itself; what only Kubernetes can do (pod sizes, the number of replicas) stands in the `Turn` for the
caller to carry out. A replica that does not answer is named and holds up nobody.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from superinfer_contract.metrics import Tier
from superinfer_contract.service import SuperInferService

from superinfer_operator.contact import look, send
from superinfer_operator.converge import Next, next_actions
from superinfer_operator.group import Member, cap_bytes, entitled_bytes, neighbourhood
from superinfer_operator.ladder.decide import decide, refused
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.lending import give_hbm, spare_hbm_bytes
from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.move import Move
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.ladder.view import Observed
from superinfer_operator.observe import observed, rules
from superinfer_operator.pod_memory import following_bytes
from superinfer_operator.replica import Replica, ReplicaView
from superinfer_operator.telemetry.windows import Snapshot
from superinfer_operator.turn import Outcome, Resize, Turn
from superinfer_operator.wish import Wish

Clock = Callable[[], float]
"""A steady clock in seconds."""

Snapshots = Callable[[str, float], Snapshot]
"""What the replica of that name reported, seen from that moment."""

NAMED_BY = {Lever.DRAM: "dram_bytes", Lever.HBM: "hbm_bytes", Lever.CLASSES: "class_shares"}


class Controller:
    """Keeps one service's budgets and replicas where its objectives need them.

    One controller a service, for as long as it exists; its turns follow one another. ``wish`` is
    what an earlier operator left behind: nothing jumps, and the first step waits for a cool-down.
    """

    def __init__(
        self,
        service: SuperInferService,
        snapshots: Snapshots,
        clock: Clock,
        wish: Wish | None = None,
    ) -> None:
        self._service = service
        self._rules = rules(service.spec)
        self._snapshots = snapshots
        self._clock = clock
        self._state = LadderState(settled_s=None if wish is None else clock())
        self._seen = Observed(tiers={}, telemetry_age_s=None)
        self._seen_s = clock()
        self._claims: dict[str, int] = {}  # of HBM, by replica: the most that it may hold by now
        self._given: Decision | None = None  # to be told in the next turn
        self.wish = (wish or Wish()).within(service.spec)

    @property
    def name(self) -> str:
        return self._service.metadata.name

    def update(self, service: SuperInferService) -> None:
        """Take a changed spec; what the ladder remembers and still applies is kept."""
        self._service, self._rules = service, rules(service.spec)
        before, self.wish = self.wish, self.wish.within(service.spec)
        if self.wish != before or self._rules.plan_only:
            self._given = None
            self._state = replace(self._state, in_flight=None)

    async def turn(
        self, replicas: Sequence[Replica], neighbours: Sequence["Controller"] = ()
    ) -> Turn:
        """Look at the replicas once and do what the ladder says; never raises for their faults.

        ``neighbours`` are the services that share this one's GPUs. HBM taken from one lowers its
        wish at once; its own next turn carries that out and tells of it.
        """
        now_s = self._clock()
        views = await asyncio.gather(
            *(
                look(each, self._snapshots(each.name, now_s), self._rules.stale_s)
                for each in replicas
            )
        )
        now_s = self._clock()
        self._complete_wish(views, neighbours, now_s)
        seen = self._see(views, neighbours, now_s)
        decision = self._decide(seen, neighbours, now_s)
        actions = self._actions(views, neighbours, now_s)
        outcome, views = await self._carry_out(decision, actions, replicas, views)
        return Turn(
            views=tuple(views),
            seen=seen,
            decision=decision,
            outcome=outcome,
            wish=self.wish,
            resizes=tuple(
                Resize(view.name, each.limit_bytes)
                for view, each in zip(views, actions, strict=True)
                if each.limit_bytes is not None
            ),
            resting=self._state.resting,
        )

    def member(self, now_s: float) -> Member | None:
        """Return how this service stands in its group; None: its HBM is not managed."""
        hbm = self._service.spec.kv_cache.hbm
        if hbm is None:
            return None
        wished = hbm.initial_bytes if self.wish.hbm_bytes is None else self.wish.hbm_bytes
        claims = self._claims.values() or [hbm.initial_bytes]
        fresh = now_s - self._seen_s <= self._rules.stale_s and self._given is None
        spare = (
            spare_hbm_bytes(self._rules, self._seen, self._state, now_s)
            if fresh and not self._rules.plan_only
            else 0
        )
        return Member(self.name, hbm.initial_bytes, wished, max(wished, *claims), spare)

    def give_hbm(self, size_bytes: int, taker: str) -> None:
        """Wish for ``size_bytes`` less HBM, for the service ``taker``; told in the next turn."""
        held = self._seen.tiers[Tier.HBM]
        to_bytes = (held.desired_bytes - size_bytes) // held.step_bytes * held.step_bytes
        decision = give_hbm(self._rules, self._seen, self._state, to_bytes, taker, self._clock())
        self._accept(decision)
        self._given = decision

    def _complete_wish(
        self, views: Sequence[ReplicaView], neighbours: Sequence["Controller"], now_s: float
    ) -> None:
        budgets = [view.budget for view in views if view.budget is not None]
        self.wish = self.wish.completed(self._service.spec, budgets, len(views))
        own = self.member(now_s)
        if own is not None and self._rules.shares_gpus and not self._rules.plan_only:
            entitled = entitled_bytes(own, _members(neighbours, now_s))
            if self.wish.hbm_bytes is not None and self.wish.hbm_bytes > entitled:
                self.wish = self.wish.model_copy(update={"hbm_bytes": entitled})

    def _see(
        self, views: Sequence[ReplicaView], neighbours: Sequence["Controller"], now_s: float
    ) -> Observed:
        hbm = self._service.spec.kv_cache.hbm
        self._claims = {
            view.name: (
                max(view.budget.hbm.allocated_bytes, view.budget.hbm.desired_bytes)
                if view.budget is not None
                else self._claims.get(view.name, 0 if hbm is None else hbm.initial_bytes)
            )
            for view in views
        }
        own = self.member(now_s)
        near = None if own is None else neighbourhood(own, _members(neighbours, now_s))
        # Plan mode leaves the budgets to others: it sees them as they are.
        as_they_are = {"hbm_bytes": None, "dram_bytes": None}
        wish = self.wish.model_copy(update=as_they_are) if self._rules.plan_only else self.wish
        self._seen, self._seen_s = observed(views, wish, near), now_s
        return self._seen

    def _decide(self, seen: Observed, neighbours: Sequence["Controller"], now_s: float) -> Decision:
        if self._given is not None:
            decision, self._given = self._given, None
            return decision
        decision = decide(self._rules, seen, self._state, now_s)
        self._accept(decision)
        move = decision.move
        if decision.execute and move is not None and move.donor:
            donor = next(each for each in neighbours if each.name == move.donor)
            donor.give_hbm(int(move.end - move.start), self.name)
        return decision

    def _accept(self, decision: Decision) -> None:
        self._state = decision.state
        if decision.execute and decision.move is not None:
            self.wish = self.wish.after(decision.move)

    def _actions(
        self, views: Sequence[ReplicaView], neighbours: Sequence["Controller"], now_s: float
    ) -> list[Next]:
        if self._rules.plan_only:
            return [Next() for _ in views]
        own = self.member(now_s) if self._rules.shares_gpus else None
        cap = None if own is None else cap_bytes(own, _members(neighbours, now_s))
        return [self._next(view, cap) for view in views]

    def _next(self, view: ReplicaView, hbm_cap_bytes: int | None) -> Next:
        if view.budget is None:
            return Next()
        spec = self._service.spec
        limit_for = (
            partial(following_bytes, spec.resources, spec.kv_cache)
            if spec.kv_cache.policy == "FollowBudget"
            else None
        )
        return next_actions(self.wish, view.budget, view.memory, limit_for, hbm_cap_bytes)

    async def _carry_out(
        self,
        decision: Decision,
        actions: Sequence[Next],
        replicas: Sequence[Replica],
        views: Sequence[ReplicaView],
    ) -> tuple[Outcome, list[ReplicaView]]:
        step = self._state.in_flight
        for view, each in zip(views, actions, strict=True):
            if each.patch is not None and each.patch.hbm_bytes is not None:
                self._claims[view.name] = max(self._claims[view.name], each.patch.hbm_bytes)
        sent = await asyncio.gather(
            *(
                self._send(replica, view, each)
                for replica, view, each in zip(replicas, views, actions, strict=True)
            )
        )
        after = [view for view, _ in sent]
        refusals = [
            words
            for (_, words), each in zip(sent, actions, strict=True)
            if words is not None and step is not None and _names(each, step.move)
        ]
        if refusals and self._state.in_flight is step:
            self._state, back = refused(self._rules, self._state, refusals[0], self._clock())
            self.wish = self.wish if back is None else self.wish.after(back)
            return Outcome.REFUSED, after
        if decision.move is None:
            return Outcome.NO_CHANGE, after
        return Outcome.SENT if decision.execute else Outcome.PLANNED, after

    async def _send(
        self, replica: Replica, view: ReplicaView, action: Next
    ) -> tuple[ReplicaView, str | None]:
        if action.patch is None:
            return view, None
        return await send(replica, view, action.patch)


def _members(neighbours: Sequence[Controller], now_s: float) -> list[Member]:
    found = (each.member(now_s) for each in neighbours)
    return [member for member in found if member is not None]


def _names(action: Next, move: Move) -> bool:
    """Whether the patch of ``action`` is what carries ``move`` out."""
    field = NAMED_BY.get(move.lever)
    patch = action.patch
    return field is not None and patch is not None and getattr(patch, field) is not None
