"""The ladder over services that react: it climbs in order, rests, and comes down in reverse."""

import itertools
from typing import Any

import pytest
from fake_fleet import MIB, Fleet, only_at_wish, service
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.metrics import Tier
from superinfer_operator.ladder.memory import Cause
from superinfer_operator.ladder.move import Rung
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.ladder.view import Refusal, RefusalKind
from superinfer_operator.replica import PodMemory
from superinfer_operator.turn import Outcome

TURN_S = 10.0
UP = [Rung.GROW_DRAM, Rung.GROW_HBM, Rung.SHRINK_CLASS, Rung.ADD_REPLICA]
DOWN = [Rung.REMOVE_REPLICA, Rung.RESTORE_CLASS, Rung.SHRINK_HBM, Rung.SHRINK_DRAM]
SCALES = {"autoscaling": {"scaler": "Ladder", "minReplicas": 1, "maxReplicas": 4}}


class Clock:
    """Steps from one turn to the next."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Scene:
    """A fleet and its time."""

    def __init__(self, **spec: object) -> None:
        self.clock = Clock()
        self.fleet = Fleet(service(**{**SCALES, **spec}), self.clock)

    async def run(self, turns: int) -> list[Rung]:
        """Let time pass; returns the rungs of the moves made."""
        before = len(self.fleet.moves)
        for _ in range(turns):
            await self.fleet.turn()
            self.clock.now_s += TURN_S
        return [move.rung for move in self.fleet.moves[before:]]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def each_once(rungs: list[Rung]) -> list[Rung]:
    return [rung for rung, _ in itertools.groupby(rungs)]


async def test_it_climbs_in_order_rests_and_comes_down_in_reverse(scene: Scene) -> None:
    fleet = scene.fleet
    fleet.chat_mib, fleet.batch_mib = 2, 1
    assert await scene.run(5) == []
    assert only_at_wish(fleet)

    fleet.chat_mib, fleet.batch_mib = 70, 20
    climbed = await scene.run(100)
    assert each_once(climbed)[:4] == UP
    assert not fleet.is_late()
    top = fleet.controller.wish
    assert (top.dram_bytes, top.hbm_bytes) == (32 * MIB, 16 * MIB)
    assert top.class_shares == {"batch": 0.25}
    assert top.replicas == 2
    assert only_at_wish(fleet)
    assert await scene.run(100) == []  # at rest: the load is unchanged

    fleet.chat_mib, fleet.batch_mib = 1, 1
    came_down = await scene.run(200)
    assert each_once(came_down) == DOWN
    bottom = fleet.controller.wish
    assert (bottom.dram_bytes, bottom.hbm_bytes) == (4 * MIB, 4 * MIB)
    assert (bottom.class_shares, bottom.replicas) == ({}, 1)
    assert await scene.run(100) == []


async def test_each_rung_is_taken_only_when_the_one_below_is_used_up(scene: Scene) -> None:
    fleet = scene.fleet
    for chat_mib, top in ((14, None), (30, Rung.GROW_DRAM), (46, Rung.GROW_HBM)):
        fleet.chat_mib = chat_mib
        rungs = await scene.run(80)
        assert each_once(rungs) == ([top] if top else [])
        assert not fleet.is_late()


async def test_new_and_restarted_replicas_are_brought_to_the_wish(scene: Scene) -> None:
    fleet = scene.fleet
    fleet.chat_mib = 100
    await scene.run(100)
    assert not fleet.is_late()
    wish = fleet.controller.wish
    fleet.chat_mib = 80  # so that all are needed, but no more
    before = len(fleet.moves)
    for pod in fleet.pods.values():
        pod.restart()
        assert not only_at_wish(fleet)
        await scene.run(2)
        assert only_at_wish(fleet)
    assert fleet.controller.wish == wish
    assert len(fleet.moves) == before


async def test_a_new_operator_goes_on_where_the_old_one_was(scene: Scene) -> None:
    fleet = scene.fleet
    fleet.chat_mib, fleet.batch_mib = 70, 20
    await scene.run(100)
    wish = fleet.controller.wish
    held = {name: pod.budget() for name, pod in fleet.pods.items()}
    fleet.restart_operator()
    assert await scene.run(50) == []
    assert fleet.controller.wish == wish
    assert {name: pod.budget() for name, pod in fleet.pods.items()} == held

    fleet.restart_operator()
    fleet.chat_mib = 140
    first = await fleet.turn()
    assert not first.decision.execute  # the cool-down starts anew
    assert first.decision.reason.endswith("after a pause of 20 s")
    assert (await scene.run(100))[0] is Rung.ADD_REPLICA


FOLLOWS: dict[str, Any] = {
    "kvCache": {
        "hbm": {"min": "4Mi", "max": "16Mi", "initial": "8Mi", "step": "2Mi"},
        "dram": {"min": "4Mi", "max": "32Mi", "initial": "8Mi", "step": "8Mi"},
        "slab": "1Mi",
        "policy": "FollowBudget",
    },
    "resources": {"memory": "100Mi", "dramCharge": 1},
    "autoscaling": None,
}


async def test_a_pod_follows_its_budget_up_and_down() -> None:
    scene = Scene(**FOLLOWS)
    fleet = scene.fleet
    fleet.scale(2)
    fleet.chat_mib = 60
    await scene.run(60)
    assert not fleet.is_late()
    grown = PodMemory(132 * MIB, 132 * MIB)
    assert list(fleet.memory.values()) == [grown, grown]
    fleet.chat_mib = 1
    await scene.run(200)
    assert only_at_wish(fleet)
    assert fleet.controller.wish.dram_bytes == 4 * MIB
    start = PodMemory(108 * MIB, 108 * MIB)  # what a container that restarts needs
    assert list(fleet.memory.values()) == [start, start]


@pytest.mark.parametrize(
    ("kind", "cause"),
    [(RefusalKind.INFEASIBLE, Cause.INFEASIBLE), (RefusalKind.DEFERRED, Cause.NODE_FULL)],
)
async def test_a_node_without_room_leaves_dram_as_it_was_and_the_next_rung_is_tried(
    kind: RefusalKind, cause: Cause
) -> None:
    scene = Scene(**FOLLOWS)
    fleet = scene.fleet
    fleet.scale(2)
    fleet.refusal = Refusal(kind, "static memory manager")
    fleet.chat_mib = 38
    await scene.run(12)
    rest = fleet.turns[-1].resting[Lever.DRAM]
    assert rest.cause is cause
    assert "static memory manager" in rest.message
    assert [move.rung for move in fleet.moves][:3] == [
        Rung.GROW_DRAM,
        Rung.WITHDRAW,
        Rung.GROW_HBM,
    ]
    start = PodMemory(108 * MIB, 108 * MIB)
    assert list(fleet.memory.values()) == [start, start]
    assert fleet.controller.wish.dram_bytes == 8 * MIB


async def test_a_changed_spec_moves_the_wish_and_keeps_the_memory(scene: Scene) -> None:
    fleet = scene.fleet
    fleet.chat_mib = 30
    await scene.run(40)
    assert fleet.controller.wish.dram_bytes == 32 * MIB
    lower = {**FOLLOWS["kvCache"], "dram": {"min": "4Mi", "max": "24Mi"}, "policy": "Ceiling"}
    fleet.controller.update(service(**SCALES, kvCache=lower))
    first = await fleet.turn()
    assert first.wish.dram_bytes == 24 * MIB
    assert only_at_wish(fleet)
    assert not first.decision.execute
    assert len(first.decision.state.steps_s) == 3

    plan = service(**SCALES, mode="Plan")
    fleet.controller.update(plan)
    for pod in fleet.pods.values():
        pod.restart()
    fleet.chat_mib = 99
    await scene.run(20)
    assert fleet.turns[-1].outcome is Outcome.PLANNED
    assert all(
        pod.desired == {Tier.HBM: 8 * MIB, Tier.DRAM: 8 * MIB} for pod in fleet.pods.values()
    )


@given(
    load=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), min_size=1, max_size=4),
    accidents=st.lists(
        st.tuples(st.integers(0, 150), st.sampled_from(["pod", "operator", "deaf", "silent"])),
        max_size=8,
    ),
)
@settings(max_examples=20)
async def test_whatever_happens_it_comes_to_rest_with_what_it_needs(
    load: list[tuple[int, int]], accidents: list[tuple[int, str]]
) -> None:
    """After the last accident: either nobody is late, or all rungs are used up. Then no move."""
    scene = Scene()
    fleet = scene.fleet
    happening = sorted(accidents)
    for turn in range(200):
        if turn % 50 == 0 and turn // 50 < len(load):
            fleet.chat_mib, fleet.batch_mib = load[turn // 50]
        while happening and happening[0][0] <= turn:
            befall(fleet, happening.pop(0)[1])
        await scene.run(1)
    for pod in fleet.pods.values():
        pod.answers = True
    fleet.telemetry_stops = False
    await scene.run(500)
    rest = await scene.run(300)
    assert rest == []
    assert only_at_wish(fleet)
    last = fleet.turns[-1]
    assert last.decision.rung is Rung.EXHAUSTED if fleet.is_late() else not last.trouble


def befall(fleet: Fleet, accident: str) -> None:
    some = next(iter(fleet.pods.values()), None)
    if accident == "operator":
        fleet.restart_operator()
    elif accident == "silent":
        fleet.telemetry_stops = not fleet.telemetry_stops
    elif some is not None and accident == "pod":
        some.restart()
    elif some is not None:
        some.answers = not some.answers
