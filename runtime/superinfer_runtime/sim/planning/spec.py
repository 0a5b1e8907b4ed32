"""Between a service as it is written and what the search varies: budgets and replicas.

A service is judged at what it may reach. In mode Auto the operator raises budgets and replicas up
to their maxima while a class misses its target, so the maxima count; in mode Plan nothing moves,
and the initial budgets do. A recommendation is written as both, so that a pod starts with what was
simulated and reserves no more. What the user decided stays decided: no DRAM (``dram: null``), and
the share of HBM that a service was given of shared GPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from superinfer_contract.quantity import format_bytes, parse_bytes
from superinfer_contract.service import ServiceSpec, TierSpec
from superinfer_contract.validation import ConfigError

from superinfer_runtime.sim.planning.search import Provision, SearchSpace

MIB = 2**20
MAX_CANDIDATES = 64
"""Budgets of one tier that the search tells apart (assumed fine enough): it tries six of them."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine of one replica holds, over all its GPUs."""

    hbm_bytes: int
    """KV beside the weights; an estimate, so what is written beyond it is judged at it."""
    min_hbm_bytes: int
    """vLLM starts with no less: the KV of one request of the longest context."""
    dram_bytes: int
    """The DRAM tier beside the pod's other memory."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value of the YAML file, told by the keys that lead to it."""

    path: tuple[str, ...]
    value: str | int | None


def as_written(spec: ServiceSpec, room: Room) -> Provision:
    """Return what a service may reach as it stands."""
    hbm, dram = spec.kv_cache.hbm, _dram_tier(spec)
    hbm_bytes = room.hbm_bytes  # all that vLLM finds
    if hbm is not None:
        shared = spec.placement.share_group is not None
        hbm_bytes = min(hbm.initial_bytes if shared else _reach(spec, hbm), hbm_bytes)
    if spec.autoscaling is not None:
        replicas = spec.autoscaling.max_replicas
    else:
        replicas = 1 if spec.replicas is None else spec.replicas
    return Provision(
        replicas,
        0 if dram is None else _reach(spec, dram),
        hbm_bytes,
        spec.scheduler.transfer_budget_blocks,
    )


def can_serve(spec: ServiceSpec, room: Room) -> bool:
    """Whether there are replicas, vLLM starts in them, and a machine has the memory of one."""
    written = as_written(spec, room)
    enough_hbm = written.hbm_bytes >= room.min_hbm_bytes
    return written.replicas > 0 and enough_hbm and not _exceeds(_dram_tier(spec), room)


def search_space(spec: ServiceSpec, room: Room, max_replicas: int) -> SearchSpace:
    """Return what may be recommended; it does not depend on what a recommendation changes.

    Raises:
        ConfigError: the machine cannot hold the least of it.
    """
    return SearchSpace(_hbm_candidates(spec, room), _dram_candidates(spec, room), max_replicas)


def changes(spec: ServiceSpec, room: Room, wanted: Provision) -> tuple[Change, ...]:
    """Return what is to be written so that ``spec`` says ``wanted``, and can serve in ``room``."""
    written, dram = as_written(spec, room), _dram_tier(spec)
    found: list[Change] = []
    if wanted.replicas != written.replicas:
        found += _replica_changes(spec, wanted.replicas)
    if wanted.hbm_bytes != written.hbm_bytes:
        found += _tier_changes("hbm", spec.kv_cache.hbm, wanted.hbm_bytes)
    if wanted.dram_bytes != written.dram_bytes or _exceeds(dram, room):
        found += _tier_changes("dram", dram, wanted.dram_bytes)
    if wanted.transfer_budget_blocks != written.transfer_budget_blocks:
        path = ("spec", "scheduler", "transferBudgetBlocks")
        found.append(Change(path, wanted.transfer_budget_blocks))
    return tuple(found)


def exact_quantity(size_bytes: int) -> str:
    """Write ``size_bytes`` as a quantity that reads back as the very same number."""
    text = format_bytes(size_bytes)
    if parse_bytes(text) == size_bytes:
        return text
    return f"{size_bytes // MIB}Mi" if size_bytes % MIB == 0 else str(size_bytes)


def _reach(spec: ServiceSpec, tier: TierSpec) -> int:
    return tier.max if spec.mode == "Auto" else tier.initial_bytes


def _exceeds(dram: TierSpec | None, room: Room) -> bool:
    return dram is not None and dram.max > room.dram_bytes


def _replica_changes(spec: ServiceSpec, replicas: int) -> Iterator[Change]:
    if spec.autoscaling is None:
        yield Change(("spec", "replicas"), replicas)
        return
    if spec.autoscaling.min_replicas > replicas:
        yield Change(("spec", "autoscaling", "minReplicas"), replicas)
    yield Change(("spec", "autoscaling", "maxReplicas"), replicas)


def _tier_changes(name: str, tier: TierSpec | None, size_bytes: int) -> Iterator[Change]:
    path, size = ("spec", "kvCache", name), exact_quantity(size_bytes)
    if tier is not None and tier.min > size_bytes:
        yield Change((*path, "min"), size)
    yield Change((*path, "max"), size)
    if tier is not None and tier.initial is not None:
        yield Change((*path, "initial"), size)


def _hbm_candidates(spec: ServiceSpec, room: Room) -> tuple[int, ...]:
    shared = spec.placement.share_group is not None
    most_bytes = as_written(spec, room).hbm_bytes if shared else room.hbm_bytes
    if most_bytes < room.min_hbm_bytes:
        raise ConfigError(
            f"spec.engine.args: one request of max-model-len needs "
            f"{format_bytes(room.min_hbm_bytes)} of KV, but there are {format_bytes(most_bytes)} "
            "for it; lower max-model-len or take more GPUs (tensor-parallel-size)"
        )
    if shared:
        return (most_bytes,)
    unit = max(_power_of_two_below(most_bytes // (MAX_CANDIDATES // 2)), MIB)
    return tuple(_multiples(unit, room.min_hbm_bytes, most_bytes))


def _dram_tier(spec: ServiceSpec) -> TierSpec | None:
    """Stock vLLM uses none, whatever is written."""
    return spec.kv_cache.dram if spec.policy == "rotasched" else None


def _dram_candidates(spec: ServiceSpec, room: Room) -> tuple[int, ...]:
    tier, slab_bytes = _dram_tier(spec), spec.kv_cache.slab
    if tier is None:
        return (0,)
    slabs = room.dram_bytes // slab_bytes
    if not slabs:
        raise ConfigError(
            f"spec.kvCache.slab: the machine has {format_bytes(room.dram_bytes)} of DRAM for the "
            f"tier, less than one slab of {format_bytes(slab_bytes)}"
        )
    unit = tier.step or slab_bytes
    while slabs * slab_bytes > unit * MAX_CANDIDATES:
        unit *= 2
    return tuple(_multiples(unit, unit, slabs * slab_bytes))


def _multiples(unit: int, low: int, high: int) -> Iterator[int]:
    """Yield the multiples of ``unit`` from ``low`` to ``high``, and ``high`` itself."""
    yield from range(-(-low // unit) * unit, high, unit)
    yield high


def _power_of_two_below(number: int) -> int:
    return 1 << max(number.bit_length() - 1, 0)
