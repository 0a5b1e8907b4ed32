"""Services on the same GPUs: HBM goes to who needs it, and never to two at once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from fake_fleet import MIB, FakeRuntime, Fleet, service
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.metrics import Tier
from superinfer_operator.group import (
    Member,
    cap_bytes,
    entitled_bytes,
    neighbourhood,
)
from superinfer_operator.ladder.move import Rung
from superinfer_operator.ladder.view import Donor, Neighbourhood

TURN_S = 10.0
SHARED: dict[str, Any] = {
    "placement": {"shareGroup": "gpu"},
    "budget": {
        "windowSeconds": 20,
        "cooldownSeconds": 20,
        "shrinkAfterSeconds": 1000,
        "maxStepsPerHour": 1000,
    },
    "sloClasses": [{"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1}],
    "kvCache": {
        "hbm": {"min": "2Mi", "max": "32Mi", "initial": "8Mi", "step": "2Mi"},
        "dram": {"min": "4Mi", "max": "4Mi", "initial": "4Mi"},
        "slab": "1Mi",
    },
}


@dataclass
class Group:
    """Fleets that share GPUs; every change of any runtime is checked against the total."""

    names: tuple[str, ...]
    now_s: float = 1000.0
    fleets: list[Fleet] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.names:
            fleet = Fleet(service(name, **SHARED), lambda: self.now_s)
            fleet.scale(1)
            self.fleets.append(fleet)
        self.watch(self.never_too_much)

    def watch(self, check: Callable[[], None]) -> None:
        for fleet in self.fleets:
            for pod in fleet.pods.values():
                pod.on_change = check

    def runtime(self, number: int) -> FakeRuntime:
        return next(iter(self.fleets[number].pods.values()))

    @property
    def total(self) -> int:
        return len(self.fleets) * 8 * MIB

    def never_too_much(self) -> None:
        runtimes = [self.runtime(number) for number in range(len(self.fleets))]
        held = [max(each.allocated[Tier.HBM], each.desired[Tier.HBM]) for each in runtimes]
        assert sum(held) <= self.total

    async def turn(self, number: int) -> None:
        others = [fleet for at, fleet in enumerate(self.fleets) if at != number]
        await self.fleets[number].turn([fleet.controller for fleet in others])

    async def run(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.gather(*(self.turn(number) for number in range(len(self.fleets))))
            self.now_s += TURN_S

    def wishes(self) -> list[int]:
        return [(fleet.controller.wish.hbm_bytes or 0) // MIB for fleet in self.fleets]


@pytest.fixture
def group() -> Group:
    return Group(("chat", "mail"))


async def test_hbm_goes_to_who_needs_it_and_comes_back(group: Group) -> None:
    chat, mail = group.fleets
    chat.chat_mib = 14
    await group.run(40)
    assert not chat.is_late()
    assert group.wishes() == [12, 4]
    assert {move.rung for move in chat.moves} == {Rung.SHIFT_HBM}
    given = next(turn.decision for turn in mail.turns if turn.decision.execute)
    assert given.reason == "service chat needs HBM: shrink HBM 8Mi -> 6Mi"

    chat.chat_mib, mail.chat_mib = 1, 14
    await group.run(60)
    assert not mail.is_late()
    assert sum(group.wishes()) <= 16
    assert group.wishes()[1] >= 12


async def test_two_in_need_keep_what_they_have(group: Group) -> None:
    for fleet in group.fleets:
        fleet.chat_mib = 40
    await group.run(60)
    assert group.wishes() == [8, 8]
    last = group.fleets[0].turns[-1].decision
    assert last.rung is Rung.EXHAUSTED
    assert "no service on the same GPUs can spare HBM" in last.reason


async def test_the_taker_grows_only_as_the_donor_really_shrinks(group: Group) -> None:
    chat, _ = group.fleets
    group.runtime(1).moves_at_once = False
    chat.chat_mib = 14
    await group.run(5)
    assert group.wishes() == [10, 6]
    assert group.runtime(0).desired[Tier.HBM] == 8 * MIB
    group.runtime(1).move()
    await group.run(2)
    assert group.runtime(0).allocated[Tier.HBM] == 10 * MIB


async def test_a_donor_that_cannot_shrink_gets_its_wish_back(group: Group) -> None:
    chat, _ = group.fleets
    group.runtime(1).moves_at_once = False
    chat.chat_mib = 14
    await group.run(10)
    assert group.wishes() == [8, 8]
    assert group.runtime(0).allocated[Tier.HBM] == 8 * MIB


async def test_what_a_member_was_lent_goes_when_the_lender_leaves(group: Group) -> None:
    chat, _ = group.fleets
    chat.chat_mib = 14
    await group.run(40)
    await chat.turn()
    assert chat.controller.wish.hbm_bytes == 8 * MIB


@given(
    events=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["turn", "rounds", "rounds", "load", "load", "stick", "operator"]),
            st.sampled_from([0, 3, 7, 12, 16, 20]),
        ),
        max_size=40,
    )
)
@settings(max_examples=60)
async def test_never_more_than_the_total_whatever_the_order(
    events: list[tuple[int, str, int]],
) -> None:
    """Containers do not restart here: a restarted one has its initial budget before any turn."""
    group = Group(("chat", "mail", "code"))
    for number, event, amount in events:
        fleet, runtime = group.fleets[number], group.runtime(number)
        happenings: dict[str, Callable[[], object]] = {
            "load": partial(setattr, fleet, "chat_mib", amount),
            "stick": partial(setattr, runtime, "moves_at_once", amount > 12),
            "operator": fleet.restart_operator,
        }
        if event == "turn":
            together = {number, amount % 3}
            await asyncio.gather(*(group.turn(each) for each in together))
            group.now_s += amount
        elif event == "rounds":
            await group.run(amount)
            runtime.move()
        else:
            happenings[event]()
    for number in range(3):
        group.runtime(number).moves_at_once = True
        group.runtime(number).move()
        group.fleets[number].chat_mib = 1
    await group.run(60)
    assert sum(group.wishes()) * MIB <= group.total
    for fleet in group.fleets:
        (pod,) = fleet.pods.values()
        assert pod.allocated[Tier.HBM] == fleet.controller.wish.hbm_bytes


def test_the_arithmetic_of_a_group() -> None:
    chat = Member("chat", initial_bytes=8, wish_bytes=10, claim_bytes=10)
    mail = Member("mail", initial_bytes=8, wish_bytes=5, claim_bytes=7, spare_bytes=2)
    code = Member("code", initial_bytes=4, wish_bytes=4, claim_bytes=4)
    assert cap_bytes(chat, [mail, code]) == 9
    assert cap_bytes(mail, [chat, code]) == 6
    assert entitled_bytes(chat, [mail, code]) == 11
    assert entitled_bytes(chat, [code]) == 8
    assert neighbourhood(chat, [mail, code]) == Neighbourhood(1, (Donor("mail", 2),))
    assert cap_bytes(chat, []) == 8
