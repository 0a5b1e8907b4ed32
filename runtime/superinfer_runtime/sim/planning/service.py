"""A service planned for a load: the simulator asked, the answer as a report and a changed file."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import ConfigError

from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.planning.diff import patched, unified_diff
from superinfer_runtime.sim.planning.load import PlannedLoad
from superinfer_runtime.sim.planning.machine import deployed, room_for_kv
from superinfer_runtime.sim.planning.notes import plan_notes
from superinfer_runtime.sim.planning.report import PlanReport
from superinfer_runtime.sim.planning.search import Provision, recommend
from superinfer_runtime.sim.planning.spec import as_written, can_serve, changes, search_space
from superinfer_runtime.sim.policies import policy_named
from superinfer_runtime.sim.report.attainment import Attainment, class_attainments
from superinfer_runtime.sim.simulation import simulate


@dataclass(frozen=True, slots=True)
class ServiceFile:
    """A service and the text that it was read from."""

    name: str
    text: str
    service: SuperInferService


def plan_service(
    file: ServiceFile,
    base: Deployment,
    load: PlannedLoad,
    max_replicas: int,
    on_simulate: Callable[[Provision], None] = lambda provision: None,
) -> tuple[PlanReport, str]:
    """Return the report and the file's text as recommended.

    Args:
        file: the service.
        base: see `base_deployment`.
        load: what the service is to bear.
        max_replicas: recommend no more.
        on_simulate: told of each simulation before it starts.

    Raises:
        ConfigError: the machine cannot hold the least budgets, a request can never run, or the file
            cannot be changed in place.
    """
    service, spec = file.service, file.service.spec
    room = room_for_kv(spec, base)
    written = as_written(spec, room)

    def attained(provision: Provision) -> Mapping[str, Attainment]:
        on_simulate(provision)
        deployment, policy = deployed(base, provision), policy_named(spec.policy)
        try:
            result = simulate(load.requests, spec.slo_classes, deployment, policy)
        except ValueError as error:
            raise ConfigError(f"{load.name}: {error}") from error
        return class_attainments(result.records, spec.slo_classes)

    found = recommend(
        attained,
        spec.slo_classes,
        search_space(spec, room, max_replicas),
        written if can_serve(spec, room) else None,
        written.transfer_budget_blocks,
    )
    text = file.text
    if found.changes_something:
        text = patched(text, changes(spec, room, found.recommended.provision))
    report = PlanReport(
        service=service.metadata.name,
        setting=_setting(spec.policy, base, load),
        classes=spec.slo_classes,
        recommendation=found,
        notes=tuple(plan_notes(spec, base.hardware, room, load, found)),
        diff=unified_diff(file.text, text, file.name),
    )
    return report, text


def _setting(policy: str, base: Deployment, load: PlannedLoad) -> dict[str, object]:
    return {
        "model": base.model.name,
        "hardware": base.hardware.name,
        "tensor_parallel": base.tensor_parallel,
        "policy": policy,
        "load": load.name,
        "requests": len(load.requests),
        "duration_s": load.duration_s,
        **asdict(base.limits),
    }
