"""The search for the cheapest provision, against simulations that are made up."""

import itertools
import math
import random
from operator import mul

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.slo import SloClass
from superinfer_runtime.sim.planning.search import (
    Provision,
    Recommendation,
    SearchSpace,
    Simulate,
    recommend,
)
from superinfer_runtime.sim.report.attainment import Attainment

CLASSES = (
    SloClass(name="chat", ttft_s=1, tbt_s=0.1, target=0.95, default=True),
    SloClass(name="batch", ttft_s=60, tbt_s=1, target=0.8),
)

budgets = st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True).map(sorted)
spaces = st.builds(SearchSpace, budgets, budgets, st.integers(1, 20))
provisions = st.builds(
    Provision,
    st.integers(1, 20),
    st.integers(0, 40),
    st.integers(0, 40),
    st.none() | st.integers(1, 5),
)
weights = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


def _of(share: float) -> Attainment:
    return Attainment(1000, share, share, share)


def never_worse_with_more(
    chat: tuple[int, int, int], batch: tuple[int, int, int], needed: int
) -> Simulate:
    """Attainments that grow with everything given; how much each part helps is ``chat``'s."""

    def simulate(provision: Provision) -> dict[str, Attainment]:
        given_to = (provision.replicas, provision.dram_bytes, provision.hbm_bytes)
        return {
            name: _of(min(sum(map(mul, helps, given_to)) / max(needed, 1), 1.0))
            for name, helps in (("chat", chat), ("batch", batch))
        }

    return simulate


def anything(seed: int) -> Simulate:
    """Attainments without rhyme or reason, but the same ones each time."""

    def simulate(provision: Provision) -> dict[str, Attainment]:
        luck = random.Random(f"{seed}/{provision}")
        return {slo_class.name: _of(luck.choice((0.5, 1.0))) for slo_class in CLASSES}

    return simulate


def all_of(space: SearchSpace) -> list[Provision]:
    return [
        Provision(*given_to)
        for given_to in itertools.product(
            range(1, space.max_replicas + 1), space.dram_bytes, space.hbm_bytes
        )
    ]


def meets(simulate: Simulate, provision: Provision) -> bool:
    found = simulate(provision)
    return all(found[slo_class.name].share >= slo_class.target for slo_class in CLASSES)


def lies_within(provision: Provision, space: SearchSpace) -> bool:
    return (
        1 <= provision.replicas <= space.max_replicas
        and provision.dram_bytes in space.dram_bytes
        and provision.hbm_bytes in space.hbm_bytes
    )


@given(weights, weights, st.integers(0, 1500), spaces)
def test_the_cheapest_that_meets_every_target_is_found(
    chat: tuple[int, int, int], batch: tuple[int, int, int], needed: int, space: SearchSpace
) -> None:
    simulate = never_worse_with_more(chat, batch, needed)
    found = recommend(simulate, CLASSES, space, as_written=None).recommended
    meeting = [provision for provision in all_of(space) if meets(simulate, provision)]
    assert found.meets_targets == bool(meeting)
    assert lies_within(found.provision, space)
    if meeting:
        assert found.provision == min(meeting, key=lambda provision: provision.cost)
    else:
        most = (space.max_replicas, space.dram_bytes[-1], space.hbm_bytes[-1])
        assert found.provision.cost == most


@given(st.integers(), spaces, st.none() | provisions)
def test_what_meets_the_targets_was_simulated_and_lies_within_bounds(
    seed: int, space: SearchSpace, as_written: Provision | None
) -> None:
    simulate = anything(seed)
    found = recommend(simulate, CLASSES, space, as_written)
    recommended = found.recommended
    assert recommended.attainments == simulate(recommended.provision)
    assert recommended.meets_targets == meets(simulate, recommended.provision)
    assert recommended == found.as_written or lies_within(recommended.provision, space)


@given(st.integers(), spaces, provisions)
def test_planning_what_was_recommended_changes_nothing(
    seed: int, space: SearchSpace, as_written: Provision
) -> None:
    simulate = anything(seed)

    def plan(written: Provision) -> Recommendation:
        return recommend(simulate, CLASSES, space, written, written.transfer_budget_blocks)

    first = plan(as_written)
    if first.changes_something:
        again = plan(first.recommended.provision)
        assert again.meets_as_written
        assert not again.changes_something
    else:
        assert first.recommended == first.as_written or not first.recommended.meets_targets


@given(st.integers(), spaces, provisions)
def test_a_service_that_meets_its_targets_is_only_made_cheaper(
    seed: int, space: SearchSpace, as_written: Provision
) -> None:
    found = recommend(anything(seed), CLASSES, space, as_written)
    if found.meets_as_written:
        assert found.recommended.meets_targets
        assert found.recommended.provision.cost <= as_written.cost


@given(st.integers(), spaces)
def test_few_simulations_are_made_and_none_twice(seed: int, space: SearchSpace) -> None:
    asked: list[Provision] = []
    simulate = anything(seed)

    def counted(provision: Provision) -> dict[str, Attainment]:
        asked.append(provision)
        return dict(simulate(provision))

    found = recommend(counted, CLASSES, space, as_written=None)
    assert len(asked) == len(set(asked)) == found.num_simulations
    halvings = sum(
        math.ceil(math.log2(size)) + 1
        for size in (space.max_replicas, len(space.dram_bytes), len(space.hbm_bytes))
    )
    assert len(asked) <= halvings + math.ceil(math.log2(space.max_replicas)) + 1


@pytest.mark.parametrize(
    ("measured_needs", "fixed_needs", "written", "recommended"),
    [
        # The measured one goes before the user's own.
        (2, 99, Provision(4, 10, 10, 7), Provision(2, 10, 10)),
        (2, 2, Provision(4, 10, 10, 7), Provision(2, 10, 10)),
        # What is written stays where it is as cheap.
        (2, 2, Provision(2, 10, 10, 7), Provision(2, 10, 10, 7)),
        (2, 1, Provision(1, 10, 10, 7), Provision(1, 10, 10, 7)),
        # The user's own is tried where a measured one fails.
        (99, 3, Provision(1, 10, 10, 7), Provision(3, 10, 10, 7)),
    ],
)
def test_the_transfer_budget_is_measured_unless_the_users_own_does_better(
    measured_needs: int, fixed_needs: int, written: Provision, recommended: Provision
) -> None:
    def simulate(provision: Provision) -> dict[str, Attainment]:
        needs = measured_needs if provision.transfer_budget_blocks is None else fixed_needs
        share = 1.0 if provision.replicas >= needs else 0.0
        return {slo_class.name: _of(share) for slo_class in CLASSES}

    space = SearchSpace((10,), (10,), 4)
    found = recommend(simulate, CLASSES, space, written, written.transfer_budget_blocks)
    assert found.recommended.provision == recommended


def test_what_cannot_run_is_not_simulated_and_meets_nothing() -> None:
    found = recommend(
        never_worse_with_more((9, 9, 9), (9, 9, 9), 1), CLASSES, SearchSpace((1,), (1,), 1), None
    )
    assert not found.meets_as_written
    assert found.changes_something
