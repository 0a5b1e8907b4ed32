"""`superinfer plan`: what a service needs for a load, told before it is applied.

Exit codes suit a CI: 0 if the file, as it stands when the command ends, meets every class's target;
`exit_codes.TARGETS_MISSED` if not; 2 and 78 as everywhere.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from superinfer_contract import exit_codes
from superinfer_contract.quantity import format_bytes
from superinfer_contract.service import ServiceSpec, SuperInferService
from superinfer_contract.validation import ConfigError, load_model

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.sim.planning.load import Span, class_mix, scenario_load, traced_load
from superinfer_runtime.sim.planning.machine import base_deployment, machine, model_shape
from superinfer_runtime.sim.planning.report import plan_tables
from superinfer_runtime.sim.planning.search import Provision
from superinfer_runtime.sim.planning.service import ServiceFile, plan_service

DEFAULT_DURATION_S = 600.0
DEFAULT_MAX_REPLICAS = 32


def plan(
    file: Annotated[Path, typer.Argument(help="A SuperInferService in YAML or JSON.")],
    trace: Annotated[
        Path | None, typer.Option(help="Recorded load, in any format that `bench` reads.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Named load instead of a trace; needs --rate.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second, all replicas together (default: the trace's own)."),
    ] = None,
    duration: Annotated[
        float, typer.Option(help="Seconds of arrivals, from the load's start.")
    ] = DEFAULT_DURATION_S,
    slo_share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SHARE",
            help="Share of a trace's requests that is of a class; repeatable (default: all are of "
            "the service's default class).",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            help="Preset of the machine (default: the first of spec.placement.gpuProducts that "
            "has one)."
        ),
    ] = None,
    model_config: Annotated[
        Path | None,
        typer.Option(help="The model's config.json (default: built in for well-known models)."),
    ] = None,
    max_replicas: Annotated[
        int, typer.Option(min=1, max=1000, help="Recommend no more replicas.")
    ] = DEFAULT_MAX_REPLICAS,
    traces: Annotated[
        Path | None,
        typer.Option(envvar="SUPERINFER_TRACES", help="Folder of the scenarios' recorded traces."),
    ] = None,
    seed: Annotated[int, typer.Option(help="All chance depends on it.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the plan as JSON, too.")
    ] = None,
    write: Annotated[bool, typer.Option(help="Change FILE to what is recommended.")] = False,
) -> None:
    """Predict which share of requests meets its objectives, and recommend budgets and replicas."""
    if (trace is None) == (scenario is None):
        raise typer.BadParameter("give exactly one of them", param_hint="--trace / --scenario")
    if scenario is not None and (rate is None or slo_share):
        raise typer.BadParameter("needs --rate, and takes no --slo-share", param_hint="--scenario")
    for name, value in (("--rate", rate), ("--duration", duration)):
        if value is not None and not value > 0:
            raise typer.BadParameter("must be above 0", param_hint=name)
    for name, path in (("--json", json_file), ("--write", file if write else None)):
        # Told now rather than after minutes of simulation.
        if path is not None and not _writable(path):
            raise typer.BadParameter(f"cannot write {path}", param_hint=name)
    try:
        service = load_model(SuperInferService, file)
        spec = service.spec
        base = base_deployment(spec, model_shape(spec, model_config), machine(spec, hardware))
        span = Span(duration, seed, base.limits.max_model_len)
        if trace is not None:
            load = traced_load(trace, _mix(spec, slo_share or ()), rate, span)
        else:
            assert scenario is not None
            assert rate is not None
            load = scenario_load(scenario, traces, rate, span)
        # Read again without translating line ends, which must stay.
        text = file.read_bytes().decode()
        with Console(stderr=True).status("planning") as status:
            report, new_text = plan_service(
                ServiceFile(file.name, text, service),
                base,
                load,
                max_replicas,
                lambda provision: status.update(_doing(provision)),
            )
    except ConfigError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(exit_codes.CONFIG) from None
    Console().print(plan_tables(report))
    typer.echo(report.diff, nl=False)
    if json_file is not None:
        _write(json_file, json.dumps(report.to_dict(), indent=2) + "\n")
    if write and report.diff:
        _write(file, new_text)
    found = report.recommendation
    if not (found.meets_as_written or (write and found.recommended.meets_targets)):
        raise typer.Exit(exit_codes.TARGETS_MISSED)


def _mix(spec: ServiceSpec, shares: Sequence[str]) -> tuple[LoadClass, ...]:
    try:
        return class_mix(spec, shares)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--slo-share") from None


def _doing(provision: Provision) -> str:
    return (
        f"simulating {provision.replicas} replica{'s' * (provision.replicas > 1)} with "
        f"{format_bytes(provision.hbm_bytes)} of HBM and {format_bytes(provision.dram_bytes)} of "
        "DRAM for KV"
    )


def _writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK) and not path.is_dir()


def _write(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode())
    except OSError as error:
        typer.echo(f"error: cannot write {path}: {error.strerror}", err=True)
        raise typer.Exit(exit_codes.FAILURE) from None
