"""What a service wishes for: where it starts, how it is kept, what a new spec does to it."""

from typing import Any

import pytest
from fake_fleet import MIB, FakeRuntime, service
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from superinfer_contract.kv_budget import KvBudget
from superinfer_operator.ladder.move import Move, Rung
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.wish import Wish

LADDER = {"autoscaling": {"scaler": "Ladder", "minReplicas": 2, "maxReplicas": 4}}
sizes = st.none() | st.integers(0, 2**40)


def budgets(**spec: Any) -> list[KvBudget]:
    return [FakeRuntime(service(**spec)).budget()]


@given(
    st.builds(
        Wish,
        hbm_bytes=sizes,
        dram_bytes=sizes,
        class_shares=st.dictionaries(st.text("abc", min_size=1), st.floats(0.05, 1)),
        replicas=st.none() | st.integers(0, 9),
    )
)
def test_a_wish_survives_being_written_down(wish: Wish) -> None:
    assert Wish.model_validate(wish.as_json()) == wish


def test_a_written_wish_is_in_kubernetes_words_and_may_know_more() -> None:
    wish = Wish(hbm_bytes=8, class_shares={"batch": 0.5}, replicas=2)
    written = wish.as_json()
    assert written == {"hbmBytes": 8, "classShares": {"batch": 0.5}, "replicas": 2}
    assert Wish.model_validate({**written, "fromTheFuture": 1}) == wish
    with pytest.raises(ValidationError):
        Wish.model_validate({"hbmBytes": "lots"})


def test_a_tier_starts_at_initial_or_at_what_the_first_replica_has() -> None:
    both = service()
    assert Wish().completed(both.spec, [], 0) == Wish(hbm_bytes=8 * MIB, dram_bytes=8 * MIB)
    open_ended = service(
        kvCache={"hbm": {"max": "16Mi"}, "dram": {"max": "32Mi", "initial": "4Mi"}, "slab": "1Mi"}
    )
    assert Wish().completed(open_ended.spec, [], 0) == Wish(dram_bytes=4 * MIB)
    has = Wish().completed(open_ended.spec, budgets(), 1)
    assert has == Wish(hbm_bytes=8 * MIB, dram_bytes=4 * MIB)
    neither = service(kvCache={"dram": None})
    assert Wish().completed(neither.spec, budgets(), 1) == Wish()


@pytest.mark.parametrize(("seen", "wished"), [(0, 2), (3, 3), (9, 4)])
def test_replicas_start_at_what_is_there_within_the_bounds(seen: int, wished: int) -> None:
    assert Wish().completed(service(**LADDER).spec, [], seen).replicas == wished
    assert Wish().completed(service().spec, [], seen).replicas is None
    external = {"autoscaling": {"scaler": "External", "maxReplicas": 4}}
    assert Wish(replicas=3).completed(service(**external).spec, [], seen).replicas is None


def test_a_changed_spec_clamps_the_wish() -> None:
    wish = Wish(
        hbm_bytes=99 * MIB,
        dram_bytes=1 * MIB,
        class_shares={"batch": 0.1, "gone": 0.5},
        replicas=9,
    )
    assert wish.within(service(**LADDER).spec) == Wish(
        hbm_bytes=16 * MIB, dram_bytes=4 * MIB, class_shares={"batch": 0.25}, replicas=4
    )
    never = service(budget={"minClassShare": 1}, kvCache={"dram": None})
    assert wish.within(never.spec) == Wish()


def test_a_class_back_at_its_whole_share_is_not_kept() -> None:
    cut = Wish().after(Move(Rung.SHRINK_CLASS, Lever.CLASSES, 1.0, 0.5, "batch"))
    assert cut == Wish(class_shares={"batch": 0.5})
    assert cut.after(Move(Rung.RESTORE_CLASS, Lever.CLASSES, 0.5, 1.0, "batch")) == Wish()
    assert Wish().after(Move(Rung.ADD_REPLICA, Lever.REPLICAS, 1, 2)) == Wish(replicas=2)
    assert Wish().after(Move(Rung.GROW_HBM, Lever.HBM, 1, 2)) == Wish(hbm_bytes=2)
