"""What a reader of a plan must know besides its figures: how sure they are, what they leave out."""

from collections.abc import Iterator, Sequence

from superinfer_contract.quantity import format_bytes
from superinfer_contract.service import ServiceSpec
from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.machine.hardware import Hardware
from superinfer_runtime.sim.planning.load import PlannedLoad
from superinfer_runtime.sim.planning.search import Recommendation
from superinfer_runtime.sim.planning.spec import Room
from superinfer_runtime.sim.report.attainment import Attainment


def plan_notes(
    spec: ServiceSpec, machine: Hardware, room: Room, load: PlannedLoad, found: Recommendation
) -> Iterator[str]:
    """Yield one sentence each, the weightiest first."""
    yield from _about_the_service(spec, room, found)
    yield from _about_the_load(spec.slo_classes, load, found)
    if machine.name.startswith("h200"):
        yield "Step times are fitted to tables measured on an H200."
    else:
        yield (
            f"Step times of {machine.name} are extrapolated from an H200, and its link's from "
            "published figures: none was measured here."
        )
    yield "Intervals (95 %) cover the chance of arrivals, not errors of the cost model."


def _about_the_service(spec: ServiceSpec, room: Room, found: Recommendation) -> Iterator[str]:
    if found.as_written is None:
        yield (
            "As written it serves nothing: it needs a replica, at least "
            f"{format_bytes(room.min_hbm_bytes)} of HBM for a request of max-model-len, and at "
            f"most {format_bytes(room.dram_bytes)} of DRAM beside the pod's other memory."
        )
    hbm = spec.kv_cache.hbm
    if hbm is not None and hbm.max > room.hbm_bytes:
        yield (
            f"kvCache.hbm.max is {format_bytes(hbm.max)}, but about "
            f"{format_bytes(room.hbm_bytes)} are left beside the weights; judged with these."
        )
    if found.changes_something:
        yield (
            "What is recommended is the least that meets the targets with this load; a heavier one "
            "has no budget left to grow into."
        )
    if spec.placement.share_group is not None:
        yield "Services on the same GPUs are not simulated, and HBM stays as it is shared."


def _about_the_load(
    classes: Sequence[SloClass], load: PlannedLoad, found: Recommendation
) -> Iterator[str]:
    if load.too_long:
        yield (
            f"{load.too_long} of {load.too_long + len(load.requests)} requests are left out: their "
            "prompts fill max-model-len, and vLLM refuses them."
        )
    predicted = found.recommended.attainments
    empty = [each.name for each in classes if not predicted[each.name].requests]
    if empty:
        yield f"No request of the load is of class {', '.join(empty)}: nothing is known of it."
    unsure = [each.name for each in classes if _unsure(predicted[each.name], each)]
    if unsure:
        yield (
            f"Confidence is low for {', '.join(unsure)}: the interval holds the target. A longer "
            "load narrows it."
        )


def _unsure(found: Attainment, slo_class: SloClass) -> bool:
    return found.requests > 0 and not found.sure(slo_class.target)
