"""How much memory a pod reserves for its process and the DRAM tier: the one place of that sum."""

import math

from superinfer_contract.service import KvCacheSpec
from superinfer_contract.service_pod import ResourcesSpec

MIB = 2**20


def pod_memory_bytes(resources: ResourcesSpec, dram_bytes: int) -> int:
    """Return the memory limit of a pod whose DRAM tier has ``dram_bytes``, in whole MiB."""
    exact_bytes = resources.memory + dram_bytes * resources.dram_charge
    return math.ceil(exact_bytes / MIB) * MIB


def start_dram_bytes(kv_cache: KvCacheSpec) -> int:
    """Return the DRAM budget that a new pod's memory must hold.

    With Ceiling that is all that the tier may ever have.
    """
    if kv_cache.dram is None:
        return 0
    return kv_cache.dram.max if kv_cache.policy == "Ceiling" else kv_cache.dram.initial_bytes


def following_bytes(resources: ResourcesSpec, kv_cache: KvCacheSpec, dram_bytes: int) -> int:
    """Return the limit of a pod that follows its budget.

    Never less than what its container needs when it starts anew.
    """
    return pod_memory_bytes(resources, max(dram_bytes, start_dram_bytes(kv_cache)))


def memory_quantity(size_bytes: int) -> str:
    """Write a limit of `pod_memory_bytes` so that Kubernetes reads back the very same number."""
    return f"{size_bytes // MIB}Mi"
