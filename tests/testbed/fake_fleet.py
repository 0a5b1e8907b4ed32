"""A service that is not there: replicas whose pressure depends on what the loop gives them.

Every replica gets its part of the load. KV fills HBM first, the rest overflows to DRAM, and what
finds no room makes chat requests late. The batch class holds no more of HBM than its share.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from superinfer_contract.kv_budget import KvBudget, KvBudgetPatch, TierState
from superinfer_contract.metrics import (
    KV_HEADROOM,
    REQUESTS,
    ROTATION_STALLS,
    Attribute,
    Metric,
    Objective,
    Tier,
)
from superinfer_contract.service import SuperInferService
from superinfer_operator.control import Controller
from superinfer_operator.ladder.move import Move
from superinfer_operator.ladder.view import Refusal
from superinfer_operator.pod_memory import pod_memory_bytes, start_dram_bytes
from superinfer_operator.replica import PodMemory, Replica
from superinfer_operator.runtime_client import RuntimeUnreachable
from superinfer_operator.telemetry.windows import Share, Snapshot
from superinfer_operator.turn import Turn
from superinfer_operator.wish import Wish

MIB = 2**20
JUDGED = 50


def service(name: str = "chat", **spec: Any) -> SuperInferService:
    """Two classes, both tiers, short times; ``spec`` on top."""
    return SuperInferService.model_validate(
        {
            "apiVersion": "superinfer.dev/v1alpha1",
            "kind": "SuperInferService",
            "metadata": {"name": name},
            "spec": {
                "sloClasses": [
                    {"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1, "default": True},
                    {"name": "batch", "ttftSeconds": 9, "tbtSeconds": 1, "weight": 0.1},
                ],
                "kvCache": {
                    "hbm": {"min": "4Mi", "max": "16Mi", "initial": "8Mi", "step": "2Mi"},
                    "dram": {"min": "4Mi", "max": "32Mi", "initial": "8Mi", "step": "8Mi"},
                    "slab": "1Mi",
                },
                "budget": {
                    "windowSeconds": 20,
                    "cooldownSeconds": 20,
                    "shrinkAfterSeconds": 100,
                    "maxStepsPerHour": 1000,
                },
                "rollout": {"startTimeoutSeconds": 300},
                **spec,
            },
        }
    )


@dataclass
class FakeRuntime:
    """Stands in for a `RuntimeClient` and the runtime behind it."""

    spec: SuperInferService
    answers: bool = True
    refuses: Exception | None = None
    moves_at_once: bool = True
    used: dict[Tier, int] = field(default_factory=dict)
    on_change: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: budgets start anew."""
        hbm, dram = self.spec.spec.kv_cache.hbm, self.spec.spec.kv_cache.dram
        assert hbm is not None
        assert dram is not None
        self.bounds = {Tier.HBM: hbm, Tier.DRAM: dram}
        self.desired = {tier: bounds.initial_bytes for tier, bounds in self.bounds.items()}
        self.allocated = dict(self.desired)
        self.shares: dict[str, float] = {}
        self.on_change()

    async def get_budget(self) -> KvBudget:
        if not self.answers:
            raise RuntimeUnreachable("GET /v1/kv/budget: no answer")
        return self.budget()

    async def patch_budget(self, patch: KvBudgetPatch) -> KvBudget:
        if not self.answers:
            raise RuntimeUnreachable("PATCH /v1/kv/budget: no answer")
        if self.refuses is not None:
            raise self.refuses
        for tier, to_bytes in ((Tier.HBM, patch.hbm_bytes), (Tier.DRAM, patch.dram_bytes)):
            if to_bytes is not None:
                assert self.bounds[tier].min <= to_bytes <= self.bounds[tier].max
                self.desired[tier] = to_bytes // MIB * MIB
        self.shares |= patch.class_shares or {}
        self.on_change()
        if self.moves_at_once:
            self.move()
        return self.budget()

    def move(self) -> None:
        """Bring what is allocated to what is desired."""
        self.allocated = dict(self.desired)
        self.on_change()

    def budget(self) -> KvBudget:
        tiers = {
            tier: TierState(
                min_bytes=bounds.min,
                max_bytes=bounds.max,
                desired_bytes=self.desired[tier],
                allocated_bytes=self.allocated[tier],
                in_use_bytes=min(self.used.get(tier, 0), self.allocated[tier]),
                step_bytes=MIB,
            )
            for tier, bounds in self.bounds.items()
        }
        return KvBudget(
            hbm=tiers[Tier.HBM],
            dram=tiers[Tier.DRAM],
            pending=self.desired != self.allocated,
            class_shares=self.shares,
        )


class Fleet:
    """A service's replicas under ``chat`` and ``batch`` MiB of KV, its controller and its clock."""

    def __init__(
        self, sis: SuperInferService, clock: Callable[[], float], wish: Wish | None = None
    ) -> None:
        self.sis = sis
        self.clock = clock
        self.chat_mib = self.batch_mib = 0.0
        self.controller = self.operator(wish)
        self.pods: dict[str, FakeRuntime] = {}
        self.ready: dict[str, bool] = {}
        self.memory: dict[str, PodMemory] = {}
        self.refusal: Refusal | None = None
        """What the kubelet answers to a larger limit; None: it grants."""
        self.telemetry_stops = False
        self.moves: list[Move] = []
        self.turns: list[Turn] = []
        self._numbers = itertools.count()

    def operator(self, wish: Wish | None = None) -> Controller:
        """A new operator process, which knows no more than ``wish``."""
        self.controller = Controller(self.sis, self.snapshot, self.clock, wish)
        return self.controller

    def restart_operator(self) -> None:
        self.operator(Wish.model_validate(self.controller.wish.as_json()))

    def scale(self, replicas: int, ready: bool = True) -> None:
        while len(self.pods) < replicas:
            name = f"{self.sis.metadata.name}-{next(self._numbers)}"
            self.pods[name], self.ready[name] = FakeRuntime(self.sis), ready
            limit = pod_memory_bytes(
                self.sis.spec.resources, start_dram_bytes(self.sis.spec.kv_cache)
            )
            self.memory[name] = PodMemory(limit, limit)
        for name in list(self.pods)[replicas:]:
            del self.pods[name], self.ready[name], self.memory[name]

    async def turn(self, neighbours: Sequence[Controller] = ()) -> Turn:
        """The load settles, one turn is taken, and what is Kubernetes' part is done."""
        for pod in self.pods.values():
            pod.used = self.pressure(pod)[0]
        turn = await self.controller.turn(
            [
                Replica(name, pod, self.memory[name], self.ready[name])  # type: ignore[arg-type]
                for name, pod in self.pods.items()
            ],
            neighbours,
        )
        self.turns.append(turn)
        if turn.decision.execute and turn.decision.move is not None:
            self.moves.append(turn.decision.move)
        for resize in turn.resizes:
            granted = self.memory[resize.replica].granted_bytes
            refusal = self.refusal if resize.limit_bytes > granted else None
            self.memory[resize.replica] = PodMemory(
                resize.limit_bytes, resize.limit_bytes if refusal is None else granted, refusal
            )
        if turn.wish.replicas is not None:
            self.ready = dict.fromkeys(self.ready, True)
            self.scale(turn.wish.replicas, ready=False)
        return turn

    def pressure(self, pod: FakeRuntime) -> tuple[dict[Tier, int], bool]:
        """What ``pod`` holds in each tier, and whether its chat requests are late."""
        parts = max(1, sum(self.ready.values()))
        share = pod.shares.get("batch", 1.0)
        batch = min(self.batch_mib / parts * MIB, share * pod.allocated[Tier.HBM])
        need = int(self.chat_mib / parts * MIB + batch)
        hbm = min(need, pod.allocated[Tier.HBM])
        dram = min(need - hbm, pod.allocated[Tier.DRAM])
        return {Tier.HBM: hbm, Tier.DRAM: dram}, need > hbm + dram

    def snapshot(self, name: str, now_s: float) -> Snapshot:
        pod = self.pods[name]
        used, late = self.pressure(pod)
        if self.telemetry_stops:
            return Snapshot(None, {}, {}, {}, 20)
        left = {tier: pod.allocated[tier] - used[tier] for tier in Tier}
        return Snapshot(
            age_s=0.0,
            shares={
                ("chat", Objective.TTFT): Share(JUDGED // 2 if late else JUDGED, JUDGED),
                ("batch", Objective.TTFT): Share(JUDGED, JUDGED),
            },
            gauges={
                **{_key(KV_HEADROOM, Attribute.TIER, tier): left[tier] for tier in Tier},
                _key(REQUESTS, Attribute.STATE, "rotary"): 1 if used[Tier.DRAM] else 0,
                _key(REQUESTS, Attribute.STATE, "waiting"): 1 if late else 0,
            },
            rises={(ROTATION_STALLS.name, ()): 1.0 if late else 0.0},
            window_s=20,
        )

    def is_late(self) -> bool:
        return any(self.pressure(pod)[1] for name, pod in self.pods.items() if self.ready[name])


def _key(
    metric: Metric, attribute: Attribute, value: str
) -> tuple[str, tuple[tuple[str, str], ...]]:
    return metric.name, ((attribute.value, value),)


def only_at_wish(fleet: Fleet) -> bool:
    """Whether every replica holds exactly what is wished for."""
    wish: Mapping[Tier, int | None] = {tier: fleet.controller.wish.bytes_of(tier) for tier in Tier}
    return all(
        pod.allocated == pod.desired == wish
        and {name: share for name, share in pod.shares.items() if share < 1}
        == fleet.controller.wish.class_shares
        for pod in fleet.pods.values()
    )
