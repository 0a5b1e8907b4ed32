"""`superinfer bench`: options in, tables and a result file out.

Everything that can be wrong with the options is told before the first request leaves (exit code 2;
78 for a trace), so that a run never fails at its end for a reason known at its start.
"""

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from superinfer_contract import exit_codes

from superinfer_runtime.bench.arrivals import ArrivalProcess
from superinfer_runtime.bench.client import Endpoint, EndpointError, EndpointType
from superinfer_runtime.bench.display import ProgressDisplay
from superinfer_runtime.bench.report import Report
from superinfer_runtime.bench.result_file import load_parameters, result
from superinfer_runtime.bench.runner import DEFAULT_GRACE_S, run_load
from superinfer_runtime.bench.slo_mix import PAPER_MIX, parse_load_class
from superinfer_runtime.bench.tables import report_tables
from superinfer_runtime.bench.trace_file import read_trace
from superinfer_runtime.bench.traces import TraceError
from superinfer_runtime.bench.workload import Workload, plan

DEFAULT_DURATION_S = 60.0
DEFAULT_REQUEST_RATE = 1.0

_LOAD, _LENGTHS, _OBJECTIVES = "Arrivals", "Lengths", "Objectives"


def bench(
    url: Annotated[
        str, typer.Option("--url", "--base-url", help="Server to load, with or without /v1.")
    ] = "http://127.0.0.1:8000",
    model: Annotated[
        str | None, typer.Option(help="Model to ask for (default: the first one served).")
    ] = None,
    endpoint_type: Annotated[
        EndpointType, typer.Option(help="/v1/completions or /v1/chat/completions.")
    ] = EndpointType.COMPLETIONS,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="OPENAI_API_KEY", show_envvar=True, help="Sent as a bearer token."),
    ] = None,
    request_rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second, in place of a trace's own arrivals (default: 1 without a "
            "trace).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    arrivals: Annotated[
        ArrivalProcess | None,
        typer.Option(
            help="How gaps are spread (default: poisson, or gamma with --burstiness).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    burstiness: Annotated[
        float,
        typer.Option(
            help="Gamma shape of the gaps: 1 is Poisson, smaller is burstier.",
            rich_help_panel=_LOAD,
        ),
    ] = 1.0,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Recorded workload: Azure CSV, Mooncake JSONL, lengths CSV, ServeGen chunk (or a "
            "folder of them).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    trace_speedup: Annotated[
        float, typer.Option(help="Replay the trace so many times faster.", rich_help_panel=_LOAD)
    ] = 1.0,
    duration: Annotated[
        float | None,
        typer.Option(
            help="Seconds of arrivals (default: 60, unless --max-requests is given).",
            rich_help_panel=_LOAD,
        ),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Send at most so many requests.", rich_help_panel=_LOAD)
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Arrivals, classes, lengths and prompts depend on it and on nothing else.",
            rich_help_panel=_LOAD,
        ),
    ] = 0,
    grace: Annotated[
        float,
        typer.Option(
            help="Seconds to wait for answers after the last arrival; the rest counts as failed.",
            rich_help_panel=_LOAD,
        ),
    ] = DEFAULT_GRACE_S,
    input_len: Annotated[
        int, typer.Option(help="Prompt length in tokens.", rich_help_panel=_LENGTHS)
    ] = 256,
    output_len: Annotated[
        int, typer.Option(help="Answer length in tokens.", rich_help_panel=_LENGTHS)
    ] = 128,
    range_ratio: Annotated[
        float,
        typer.Option(
            help="Draw lengths uniformly within plus or minus this share of them.",
            rich_help_panel=_LENGTHS,
        ),
    ] = 0.0,
    max_input_tokens: Annotated[
        int | None, typer.Option(help="Cut longer prompts to it.", rich_help_panel=_LENGTHS)
    ] = None,
    max_output_tokens: Annotated[
        int | None, typer.Option(help="Cut longer answers to it.", rich_help_panel=_LENGTHS)
    ] = None,
    vocab_size: Annotated[
        int, typer.Option(help="Prompt token ids stay below it.", rich_help_panel=_LENGTHS)
    ] = 200,
    ignore_eos: Annotated[
        bool,
        typer.Option(help="Ask for answers of full length.", rich_help_panel=_LENGTHS),
    ] = True,
    slo_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SHARE:TTFT_S:TBT_S[:INPUT:OUTPUT]",
            help="A class of requests, its share and targets; repeatable (default: every request "
            "is judged by 5 s and 0.1 s, and the server is told no class).",
            rich_help_panel=_OBJECTIVES,
        ),
    ] = None,
    slo_header: Annotated[
        bool,
        typer.Option(
            help="Name each request's class in the header x-superinfer-slo-class.",
            rich_help_panel=_OBJECTIVES,
        ),
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the result as JSON, in `vllm bench serve`'s field names."),
    ] = None,
) -> None:
    """Load an OpenAI-compatible endpoint and report which share of requests met its objectives."""
    if arrivals is None:
        arrivals = ArrivalProcess.POISSON if burstiness == 1 else ArrivalProcess.GAMMA
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise typer.BadParameter(f"cannot write {output}", param_hint="--output")
    if grace < 0:
        raise typer.BadParameter("must not be negative", param_hint="--grace")
    try:
        traced = read_trace(trace) if trace else None
    except TraceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(exit_codes.CONFIG) from None
    if request_rate is None and traced is None:
        request_rate = DEFAULT_REQUEST_RATE
    try:
        endpoint = Endpoint(
            url,
            model,
            endpoint_type,
            api_key,
            slo_header=slo_header and bool(slo_class),
            ignore_eos=ignore_eos,
            vocab_size=vocab_size,
        )
        workload = Workload(
            seed=seed,
            duration_s=DEFAULT_DURATION_S
            if duration is None and max_requests is None
            else duration,
            max_requests=max_requests,
            process=arrivals,
            request_rate=request_rate,
            burstiness=burstiness,
            trace=traced,
            trace_speedup=trace_speedup,
            input_tokens=input_len,
            output_tokens=output_len,
            range_ratio=range_ratio,
            max_input_tokens=max_input_tokens,
            max_output_tokens=max_output_tokens,
            classes=tuple(map(parse_load_class, slo_class)) if slo_class else PAPER_MIX,
        )
        requests = plan(workload)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    console = Console(stderr=True)
    console.print(
        f"{len(requests)} request{'s' * (len(requests) > 1)} over {requests[-1].arrival_s:.1f} s "
        f"to {endpoint.base_url}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    try:
        report = asyncio.run(_run(endpoint, workload, grace, console))
    except EndpointError as error:
        raise _failed(str(error)) from None
    if output is not None:
        _write(output, report, endpoint, workload, grace)
    if report.total.requests and not report.total.completed and not report.interrupted:
        raise _failed(f"every request failed: {report.failures[0][0].message}")
    Console().print(report_tables(report))
    if report.interrupted:
        raise typer.Exit(exit_codes.FAILURE)


async def _run(endpoint: Endpoint, workload: Workload, grace_s: float, console: Console) -> Report:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)  # a second one ends the program at once

    # Not everywhere can a loop handle signals; there Ctrl-C ends the run without its figures.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt, number)
    with ProgressDisplay(console) as display:
        return await run_load(endpoint, workload, grace_s=grace_s, on_progress=display, stop=stop)


def _write(
    output: Path, report: Report, endpoint: Endpoint, workload: Workload, grace_s: float
) -> None:
    load = load_parameters(endpoint, workload, grace_s)
    partial = output.with_name(output.name + ".partial")
    try:
        # In one step, so that a reader never sees half a result.
        partial.write_text(json.dumps(result(report, load), indent=2) + "\n", encoding="utf-8")
        os.replace(partial, output)
    except OSError as error:
        raise _failed(f"cannot write {output}: {error.strerror}") from None


def _failed(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(exit_codes.FAILURE)
