"""Whether a Grace Hopper node keeps HBM apart from the memory that Kubernetes hands out.

With NVIDIA's coherent driver-based memory management (CDMM, the GPU Operator's default) the kubelet
counts Grace's LPDDR5X only. In NUMA mode HBM is a NUMA node of its own: the kubelet reports more
memory than Grace has, and pods' allocations can spill into HBM. That excess is what is looked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from superinfer_contract.quantity import format_bytes

from superinfer_operator.children import NodeSeen

GRACE_MEMORY_BYTES = {
    "NVIDIA-GH200-480GB": 480 * 10**9,
    "NVIDIA-GH200-144G-HBM3e": 480 * 10**9,
}
"""LPDDR5X beside each product's GPU; the boards with less of it never exceed this.

Where GPUs are shared or split, more is appended to the label, e.g. ``-SHARED``.
"""

TOLERANCE = 1.1  # vendors' GB against what the kernel counts; HBM would add 20 % and more


@dataclass(frozen=True, slots=True)
class NodeMemory:
    """``ready`` None: no pod runs on a node yet, so nothing is known."""

    ready: bool | None
    reason: str
    message: str


def judge(nodes: Iterable[NodeSeen]) -> NodeMemory:
    """Judge the nodes that a service's pods run on."""
    known = sorted(nodes, key=lambda node: node.name)
    if not known:
        return NodeMemory(None, "NoNodeYet", "no pod runs on a node yet")
    for node in known:
        grace_bytes = _grace_bytes(node.gpu_product)
        if grace_bytes is not None and node.memory_bytes > TOLERANCE * grace_bytes:
            return NodeMemory(
                False,
                "HBMCountedAsMemory",
                f"node {node.name} offers {format_bytes(node.memory_bytes)} of memory, more than "
                f"Grace has: HBM is a NUMA node there. Set the driver to CDMM",
            )
    names = ", ".join(node.name for node in known)
    return NodeMemory(True, "HBMApart", f"memory and HBM are apart on {names}")


def _grace_bytes(product: str) -> int | None:
    return next(
        (
            size_bytes
            for known, size_bytes in GRACE_MEMORY_BYTES.items()
            if f"{product}-".startswith(f"{known}-")
        ),
        None,
    )
