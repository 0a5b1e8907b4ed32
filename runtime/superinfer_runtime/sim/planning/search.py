"""The cheapest provision with which every class of a service reaches its target.

Fewest replicas first, then least DRAM, then least HBM. The search takes it that more of any of them
never makes an attainment worse: true but for noise where a policy uses what it is given, and the
reason why so few simulations suffice. Whatever the truth, two things hold:

* what is recommended as meeting the targets was simulated and met them;
* the search depends on the space alone, not on what is written, so that planning a service as it
  was recommended recommends it again.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.report.attainment import Attainment


@dataclass(frozen=True, slots=True)
class Provision:
    """What a service is given; bytes are of one replica."""

    replicas: int
    dram_bytes: int
    hbm_bytes: int
    transfer_budget_blocks: int | None = None
    """None: measured by the runtime."""

    @property
    def cost(self) -> tuple[int, int, int]:
        """Smaller is cheaper."""
        return self.replicas, self.dram_bytes, self.hbm_bytes


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What may be given. Budgets are in ascending order, at least one each."""

    hbm_bytes: Sequence[int]
    dram_bytes: Sequence[int]
    max_replicas: int


Simulate = Callable[[Provision], Mapping[str, Attainment]]
"""The attainment of each class; the same provision gives the same answer."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a provision attains."""

    provision: Provision
    attainments: Mapping[str, Attainment]
    meets_targets: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What is written and what should be; see `recommend`."""

    as_written: Prediction | None
    """None: it can serve nothing, see there."""
    recommended: Prediction
    num_simulations: int

    @property
    def meets_as_written(self) -> bool:
        return self.as_written is not None and self.as_written.meets_targets

    @property
    def changes_something(self) -> bool:
        """Whether to write the recommendation. One that misses the targets is not worth it."""
        return self.recommended.meets_targets and self.recommended != self.as_written


def recommend(
    simulate: Simulate,
    classes: Sequence[SloClass],
    space: SearchSpace,
    as_written: Provision | None,
    fixed_transfer_budget_blocks: int | None = None,
) -> Recommendation:
    """Judge what is written and find the cheapest that meets every class's target.

    What is written is recommended again unless it misses a target or something else is cheaper. If
    nothing in ``space`` meets the targets, ``recommended`` is all that the space has, and says so.

    Args:
        simulate: see there.
        classes: their targets.
        space: what may be given.
        as_written: None if it cannot run at all, as with more HBM than there is.
        fixed_transfer_budget_blocks: the user's own constant; a measured budget comes before it.
    """
    judge = _Judge(simulate, classes)
    written = None if as_written is None else judge(as_written)
    found = _cheapest(judge, space, None)
    if found is None and fixed_transfer_budget_blocks is not None:
        found = _cheapest(judge, space, fixed_transfer_budget_blocks)
    if (
        written is not None
        and written.meets_targets
        and (found is None or written.provision.cost <= found.provision.cost)
    ):
        found = written
    if found is None:
        found = judge(Provision(space.max_replicas, space.dram_bytes[-1], space.hbm_bytes[-1]))
    return Recommendation(written, found, judge.num_simulations)


class _Judge:
    """Simulates each provision once."""

    def __init__(self, simulate: Simulate, classes: Sequence[SloClass]) -> None:
        self._simulate = simulate
        self._targets = {slo_class.name: slo_class.target for slo_class in classes}
        self._seen: dict[Provision, Prediction] = {}

    def __call__(self, provision: Provision) -> Prediction:
        if provision not in self._seen:
            attainments = self._simulate(provision)
            meets = all(attainments[name].meets(goal) for name, goal in self._targets.items())
            self._seen[provision] = Prediction(provision, attainments, meets)
        return self._seen[provision]

    @property
    def num_simulations(self) -> int:
        return len(self._seen)


def _cheapest(judge: _Judge, space: SearchSpace, transfer_blocks: int | None) -> Prediction | None:
    def met_with(replicas: int, dram_bytes: int, hbm_bytes: int) -> bool:
        return judge(Provision(replicas, dram_bytes, hbm_bytes, transfer_blocks)).meets_targets

    dram_bytes, hbm_bytes = space.dram_bytes[-1], space.hbm_bytes[-1]
    # From the low end: few replicas under much load are simulated as fast as many under little.
    missed, replicas = 0, 1
    while not met_with(replicas, dram_bytes, hbm_bytes):
        if replicas == space.max_replicas:
            return None
        missed, replicas = replicas, min(2 * replicas, space.max_replicas)
    replicas = _least(
        range(missed + 1, replicas + 1), lambda number: met_with(number, dram_bytes, hbm_bytes)
    )
    dram_bytes = _least(space.dram_bytes, lambda size: met_with(replicas, size, hbm_bytes))
    hbm_bytes = _least(space.hbm_bytes, lambda size: met_with(replicas, dram_bytes, size))
    return judge(Provision(replicas, dram_bytes, hbm_bytes, transfer_blocks))


def _least(ascending: Sequence[int], suffices: Callable[[int], bool]) -> int:
    """Return one that suffices, the least if more never does less; the last must suffice."""
    return ascending[bisect_left(ascending, True, hi=len(ascending) - 1, key=suffices)]
