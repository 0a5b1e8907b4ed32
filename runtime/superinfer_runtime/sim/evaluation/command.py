"""`superinfer simulate`: policies side by side on virtual time.

What can be wrong is told before the first run where it can be: exit code 2 for an option, 78 for a
model, a machine or a load that is not there.
"""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated

import typer
from superinfer_contract import exit_codes
from superinfer_contract.validation import ConfigError

from superinfer_runtime.bench.slo_mix import PAPER_MIX
from superinfer_runtime.sim.evaluation import options
from superinfer_runtime.sim.evaluation.case import CaseError
from superinfer_runtime.sim.evaluation.loads import (
    TraceFile,
    own_rate,
    standard_scenarios,
    trace_scenario,
)
from superinfer_runtime.sim.evaluation.outputs import OutputError, Outputs
from superinfer_runtime.sim.evaluation.pool import available_workers
from superinfer_runtime.sim.evaluation.run_study import run_study
from superinfer_runtime.sim.evaluation.setup import Setup
from superinfer_runtime.sim.evaluation.study import SearchRange, Study
from superinfer_runtime.sim.stock_scheduler import EngineLimits

_DEFAULT = EngineLimits()
_MACHINE, _LOAD, _ENGINE = "Model and machine", "Load", "Engine and policies"
_SEARCH, _OUTPUT = "Highest rates", "Output"


def simulate(
    model: Annotated[
        str,
        typer.Option(help="A well-known model, or a config.json.", rich_help_panel=_MACHINE),
    ] = "Qwen2.5-32B",
    hardware: Annotated[
        str, typer.Option(help="Preset of the machine.", rich_help_panel=_MACHINE)
    ] = "gh200-144-480",
    tensor_parallel: Annotated[
        int, typer.Option(min=1, help="GPUs of a replica.", rich_help_panel=_MACHINE)
    ] = 1,
    replicas: Annotated[
        int, typer.Option(min=1, help="They take requests in turn.", rich_help_panel=_MACHINE)
    ] = 1,
    hbm: Annotated[
        str | None,
        typer.Option(
            metavar="QUANTITY",
            help="HBM for the KV of a replica, for instance 40Gi (default: what the weights "
            "leave).",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    dram: Annotated[
        str | None,
        typer.Option(
            metavar="QUANTITY",
            help="DRAM for the KV of a replica (default: 5/6 of the machine's).",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="Named load; repeatable, or a list with commas.", rich_help_panel=_LOAD),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Recorded load instead, in any format that `bench` reads.", rich_help_panel=_LOAD
        ),
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(
            envvar="SUPERINFER_TRACES",
            help="Folder of the scenarios' recorded traces.",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            help="Requests per second, all replicas together; repeatable, or a list with commas "
            "(default: a trace's own arrivals).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(
            help="Seconds of arrivals; a run goes on to its last token.", rich_help_panel=_LOAD
        ),
    ] = 120.0,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            help="All chance depends on it; repeatable, or a list with commas (default: 0).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    slo_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SHARE:TTFT_S:TBT_S[:INPUT:OUTPUT]",
            help="A class of requests, its share and targets; repeatable. Lengths of its own with "
            "--trace only (default: the scenario's classes; a trace: 5 s and 0.1 s).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    max_input_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Cut a trace's longer prompts to it.", rich_help_panel=_LOAD),
    ] = None,
    max_output_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Cut a trace's longer answers to it.", rich_help_panel=_LOAD),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Who holds HBM; repeatable, or a list with commas (default: every policy).",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A knob of the scheduler, as in a RuntimeConfig; repeatable.",
            rich_help_panel=_ENGINE,
        ),
    ] = None,
    block_size: Annotated[
        int, typer.Option(min=1, help="Tokens of a KV block.", rich_help_panel=_ENGINE)
    ] = _DEFAULT.block_size,
    max_num_seqs: Annotated[
        int, typer.Option(min=1, help="Most requests of a step.", rich_help_panel=_ENGINE)
    ] = _DEFAULT.max_num_seqs,
    max_num_batched_tokens: Annotated[
        int, typer.Option(min=1, help="Most tokens of a step.", rich_help_panel=_ENGINE)
    ] = _DEFAULT.max_num_batched_tokens,
    max_model_len: Annotated[
        int, typer.Option(min=1, help="Most tokens of a request.", rich_help_panel=_ENGINE)
    ] = _DEFAULT.max_model_len,
    prefix_caching: Annotated[
        bool, typer.Option(help="Share the KV of equal prefixes.", rich_help_panel=_ENGINE)
    ] = _DEFAULT.prefix_caching,
    find_max_rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHARE",
            help="Find the highest rate at which this share of requests meets both objectives, "
            "for instance 0.9; repeatable, or a list with commas.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    low: Annotated[
        float, typer.Option(help="Try no lower rate (req/s).", rich_help_panel=_SEARCH)
    ] = 0.5,
    high: Annotated[
        float, typer.Option(help="Try no higher rate (req/s).", rich_help_panel=_SEARCH)
    ] = 64.0,
    tolerance: Annotated[
        float, typer.Option(help="How close to come (req/s).", rich_help_panel=_SEARCH)
    ] = 0.25,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes (default: one a core). They change no result.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write all figures as JSON.", rich_help_panel=_OUTPUT)
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with charts and tables.", rich_help_panel=_OUTPUT),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write charts as PNG into it.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    chrome_trace: Annotated[
        Path | None,
        typer.Option(
            help="Write the timeline of a single run (its first replica), for Perfetto.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    requests: Annotated[
        Path | None,
        typer.Option(help="Write every request as a line of JSON.", rich_help_panel=_OUTPUT),
    ] = None,
) -> None:
    """Serve one load by every policy on virtual time, and report who met which objectives."""
    scenarios = options.names(scenario)
    if (trace is None) == (not scenarios):
        raise typer.BadParameter("give exactly one of them", param_hint="--scenario / --trace")
    mix = options.mix(slo_class, "--slo-class", lengths=trace is not None)
    if trace is None and (max_input_tokens or max_output_tokens):
        raise typer.BadParameter("needs --trace", param_hint="--max-input/output-tokens")
    rates = options.rates(rate, "--rate")
    seeds = options.seeds(seed, "--seed") or (0,)
    search = SearchRange(options.goals(find_max_rate, "--find-max-rate"), low, high, tolerance)
    if search.goals and not (0 < low < high and tolerance > 0):
        raise typer.BadParameter("must be 0 < low < high and 0 < tolerance", param_hint="--low")
    if trace is None and not (rates or search.goals):
        raise typer.BadParameter("needs --rate or --find-max-rate", param_hint="--scenario")
    if not duration > 0:
        raise typer.BadParameter("must be above 0", param_hint="--duration")
    policies = options.policies(policy, "--policy")
    knobs = options.knobs(knob, "--knob")
    hbm_kv_bytes, dram_kv_bytes = options.quantity(hbm, "--hbm"), options.quantity(dram, "--dram")
    files = Outputs(output, html, plots, chrome_trace, requests)
    try:
        deployment = options.deployment(
            model,
            hardware,
            EngineLimits(
                block_size=block_size,
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens,
                max_model_len=max_model_len,
                prefix_caching=prefix_caching,
            ),
            knobs,
            tensor_parallel=tensor_parallel,
            replicas=replicas,
            hbm_kv_bytes=hbm_kv_bytes,
            dram_kv_bytes=dram_kv_bytes,
        )
        if trace is None:
            loads = standard_scenarios(scenarios, traces, mix)
        else:
            own_pace = not (rates or search.goals)
            loads = [
                trace_scenario(
                    TraceFile(
                        trace, mix or PAPER_MIX, own_pace, max_input_tokens, max_output_tokens
                    )
                )
            ]
            if own_pace:
                rates = (own_rate(loads[0], duration, seeds[0]),)
        setup = Setup({load.name: load for load in loads}, deployment, duration)
        study = Study(setup, policies, rates, seeds, search)
        files.check(study)
        run_study(study, files, workers or available_workers())
    except (ConfigError, CaseError) as error:
        raise _failed(str(error), exit_codes.CONFIG) from None
    except BrokenProcessPool:
        raise _failed("a worker process died; were memory short, try fewer --workers") from None
    except OutputError as error:
        raise _failed(str(error)) from None


def _failed(message: str, code: int = exit_codes.FAILURE) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(code)
