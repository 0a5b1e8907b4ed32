"""`superinfer-operator`: the command line. It reads, wires and reports; it decides nothing."""

import asyncio
import contextlib
import logging
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from superinfer_contract import exit_codes
from superinfer_contract.machine import memory_limit_bytes
from superinfer_contract.service import SuperInferService
from superinfer_contract.tls import TlsFiles
from superinfer_contract.validation import ConfigError, load_model

from superinfer_operator.events import EventLog
from superinfer_operator.local import LOOPBACK, RUNTIME_COMMAND, Options, Stop, UpFailed
from superinfer_operator.local import up as run_up
from superinfer_operator.objects.naming import OPERATOR
from superinfer_operator.runtime_file import check_runs_here
from superinfer_operator.screen import Screen

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """SLO-first LLM serving: keeps each class of requests within its objectives."""


@app.command()
def up(
    file: Annotated[Path, typer.Argument(help="A SuperInferService in YAML or JSON.")],
    json_events: Annotated[
        Path | None,
        typer.Option(help="File that each decision and step is appended to, as JSON lines."),
    ] = None,
    json_status: Annotated[
        Path | None,
        typer.Option(help="File that always holds the current status as one JSON object."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address that the runtime listens on.")] = LOOPBACK,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Instead of spec.server.port.")
    ] = None,
    otlp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the telemetry receiver; 0: any free one.")
    ] = 0,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the keys of the OpenAI API, one a line.")
    ] = None,
    status_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port of the status page; 0: any free one; no page if left out."
        ),
    ] = None,
    status_host: Annotated[
        str, typer.Option(help="Address that the status page listens on.")
    ] = LOOPBACK,
    start_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the runtime to get ready.")
    ] = 1800.0,
    runtime_command: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one service on this machine and keep its KV budgets where its objectives need them."""
    service = load_model(SuperInferService, file)
    check_runs_here(service, memory_limit_bytes(), api_key_file)
    options = Options(
        port=port or service.spec.server.port,
        host=host,
        otlp_port=otlp_port,
        api_key_file=None if api_key_file is None else api_key_file.absolute(),
        command=shlex.split(runtime_command) if runtime_command else RUNTIME_COMMAND,
        start_timeout_s=start_timeout,
        status_port=status_port,
        status_host=status_host,
        turn_s=min(1.0, service.spec.telemetry.interval_s),
    )
    with contextlib.ExitStack() as stack:
        events_file = None
        if json_events is not None:
            try:
                events_file = stack.enter_context(json_events.open("a"))
            except OSError as error:
                raise typer.BadParameter(
                    f"{json_events} cannot be written: {error.strerror}",
                    param_hint="--json-events",
                ) from error
        if json_status is not None and not json_status.parent.is_dir():
            raise typer.BadParameter(
                f"{json_status.parent} is not a directory", param_hint="--json-status"
            )
        screen = Screen(Console(stderr=True), json_status)
        code = asyncio.run(_until_signal(service, options, screen, EventLog(events_file)))
    raise typer.Exit(code)


@app.command()
def run(
    signing_key: Annotated[
        Path, typer.Option(help="File with the key that service tokens are derived from.")
    ],
    runtime_image: Annotated[str, typer.Option(help="Image of runtimes whose service names none.")],
    namespace: Annotated[
        list[str] | None, typer.Option(help="Serve only this namespace; may be repeated.")
    ] = None,
    operator_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Where the operator itself runs.")
    ] = "superinfer-system",
    otlp_endpoint: Annotated[
        str | None,
        typer.Option(help="Where pods send telemetry; the operator's own Service if left out."),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Certificate of the telemetry receivers; with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, without a password.")] = None,
    otlp_ca: Annotated[
        Path | None,
        typer.Option(help="CAs, handed to runtimes, that the receivers are checked against."),
    ] = None,
    runtime_ca: Annotated[
        Path | None,
        typer.Option(help="CAs that runtimes with spec.server.tls are checked against."),
    ] = None,
    service_monitor_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Label of the runtimes' ServiceMonitors; may be repeated."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="/healthz and /metrics.")] = 8080,
    otlp_http_port: Annotated[int, typer.Option(min=0, max=65535)] = 4318,
    otlp_grpc_port: Annotated[int, typer.Option(min=0, max=65535)] = 4317,
    status_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port of the status page; no page if left out."),
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Reconcile the SuperInferServices of a Kubernetes cluster."""
    # kopf and the Kubernetes client are needed for this command alone.
    from superinfer_operator.kube.client import KubeError
    from superinfer_operator.objects.platform import Platform
    from superinfer_operator.run import RunOptions
    from superinfer_operator.run import run as run_operator

    levels = logging.getLevelNamesMapping()
    if log_level.upper() not in levels:
        raise typer.BadParameter("choose debug, info, warning or error", param_hint="--log-level")
    logging.basicConfig(
        level=levels[log_level.upper()], format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for chatty in ("httpx", "httpx2", "kopf.objects", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if (tls_certificate is None) != (tls_key is None):
        raise typer.BadParameter("give both or neither", param_hint="--tls-certificate, --tls-key")
    tls = None
    if tls_certificate is not None and tls_key is not None:
        tls = TlsFiles(tls_certificate, tls_key)
    scheme = "http" if tls is None else "https"
    endpoint = otlp_endpoint or f"{scheme}://{OPERATOR}.{operator_namespace}.svc:{otlp_http_port}"
    options = RunOptions(
        signing_key=signing_key,
        platform=Platform(
            runtime_image,
            operator_namespace,
            endpoint,
            service_monitor_labels=_labels(service_monitor_label or []),
        ),
        tls=tls,
        otlp_ca=otlp_ca,
        runtime_ca=runtime_ca,
        namespaces=tuple(namespace or ()),
        host=host,
        http_port=http_port,
        otlp_http_port=otlp_http_port,
        otlp_grpc_port=otlp_grpc_port,
        status_port=status_port,
    )
    try:
        asyncio.run(run_operator(options))
    except KubeError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(exit_codes.FAILURE) from None


def _labels(given: list[str]) -> dict[str, str]:
    for label in given:
        if not label.partition("=")[0] or "=" not in label:
            raise typer.BadParameter(
                f"{label!r} is not KEY=VALUE", param_hint="--service-monitor-label"
            )
    return dict(label.split("=", 1) for label in given)


async def _until_signal(
    service: SuperInferService, options: Options, screen: Screen, events: EventLog
) -> int:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    return await run_up(service, options, screen, events, stop)


def main() -> None:
    """Console entry: turns the two kinds of expected failure into a message and an exit code."""
    # Until a command installs its own: a container's first process never gets a signal that it has
    # no handler for, and its pod would stay for the whole grace period.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.CONFIG)
    except (UpFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(exit_codes.FAILURE)
