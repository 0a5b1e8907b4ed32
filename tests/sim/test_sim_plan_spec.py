"""What a service says to the search, and what the search may answer."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.quantity import parse_bytes
from superinfer_contract.service import ServiceSpec
from superinfer_contract.validation import ConfigError
from superinfer_runtime.sim.planning.search import Provision
from superinfer_runtime.sim.planning.spec import (
    MAX_CANDIDATES,
    Room,
    as_written,
    can_serve,
    exact_quantity,
    search_space,
)

GIB = 2**30
ROOM = Room(hbm_bytes=31 * GIB + 2**20, min_hbm_bytes=4 * GIB, dram_bytes=430 * GIB)


@given(st.integers(0, 2**50))
def test_a_quantity_reads_back_as_the_same_number(size_bytes: int) -> None:
    assert parse_bytes(exact_quantity(size_bytes)) == size_bytes


def test_a_machine_too_small_is_told() -> None:
    spec = ServiceSpec.model_validate({"kvCache": {"slab": "2Gi", "dram": {"max": "4Gi"}}})
    with pytest.raises(ConfigError, match="less than one slab"):
        search_space(spec, Room(8 * GIB, GIB, GIB), 1)
    with pytest.raises(ConfigError, match="lower max-model-len"):
        search_space(spec, Room(8 * GIB, 9 * GIB, 8 * GIB), 1)


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(2**30, 2**42))
def test_the_space_is_small_ascending_and_within_the_room(
    hbm_bytes: int, least_bytes: int, dram_bytes: int
) -> None:
    room = Room(max(hbm_bytes, least_bytes), min(hbm_bytes, least_bytes), dram_bytes)
    space = search_space(ServiceSpec(), room, 1)
    for sizes_bytes, low, high in (
        (space.hbm_bytes, room.min_hbm_bytes, room.hbm_bytes),
        (space.dram_bytes, GIB, dram_bytes),
    ):
        assert list(sizes_bytes) == sorted(set(sizes_bytes))
        assert low <= sizes_bytes[0]
        assert sizes_bytes[-1] <= high
        assert len(sizes_bytes) <= MAX_CANDIDATES + 1


def test_a_service_is_judged_at_what_it_may_reach() -> None:
    def written(spec: Mapping[str, Any]) -> Provision:
        return as_written(ServiceSpec.model_validate(spec), ROOM)

    hbm = {"max": "16Gi", "initial": "8Gi"}
    assert written({}) == Provision(1, 4 * GIB, ROOM.hbm_bytes)
    assert written({"kvCache": {"hbm": hbm}}).hbm_bytes == 16 * GIB
    assert written({"kvCache": {"hbm": hbm}, "mode": "Plan"}).hbm_bytes == 8 * GIB
    shared = {"kvCache": {"hbm": hbm}, "placement": {"shareGroup": "one"}}
    assert written(shared).hbm_bytes == 8 * GIB
    # What fits beside the weights is an estimate: no reason to say that nothing does.
    assert written({"kvCache": {"hbm": {"max": "40Gi"}}}).hbm_bytes == ROOM.hbm_bytes
    assert written({"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}).replicas == 5
    assert written({"kvCache": {"dram": None}}).dram_bytes == 0
    assert written({"policy": "stock"}).dram_bytes == 0


def test_a_service_that_cannot_serve_is_told_from_one_that_can() -> None:
    def serves(spec: Mapping[str, Any]) -> bool:
        return can_serve(ServiceSpec.model_validate(spec), ROOM)

    assert serves({})
    assert not serves({"replicas": 0})
    assert not serves({"kvCache": {"hbm": {"max": "3Gi"}}})
    assert not serves({"kvCache": {"dram": {"max": "500Gi"}}})
    assert serves({"kvCache": {"dram": {"max": "500Gi"}}, "policy": "stock"})
