"""`run`: the operator in a cluster; wires receivers, client, kopf and health, and decides nothing.

Everything shares one event loop. kopf ends when asked to; receivers and connections end after it,
so a runtime that drains can still report.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kopf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from superinfer_contract.tls import TlsFiles

from superinfer_operator.handlers import Handlers, settings
from superinfer_operator.keeper import Surroundings
from superinfer_operator.kube.client import Kube, KubeError
from superinfer_operator.objects.platform import Platform
from superinfer_operator.self_telemetry import OperatorMetrics, OperatorTraces
from superinfer_operator.signing import SigningKeys
from superinfer_operator.status_page.board import Board
from superinfer_operator.status_page.pages import status_app
from superinfer_operator.telemetry.authentication import service_tokens
from superinfer_operator.telemetry.grpc_receiver import serving_grpc
from superinfer_operator.telemetry.http_server import bind, serving_app
from superinfer_operator.telemetry.ingest import Intake
from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.receiver import serving
from superinfer_operator.telemetry.registry import Registry
from superinfer_operator.telemetry.rejection import Rejected
from superinfer_operator.trust import Authorities
from superinfer_operator.watch_check import WatchCheck

LOG = logging.getLogger(__name__)

CHECK_EVERY_S = 30.0
MONITORS_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the operator runs; ports 0 mean any free one."""

    signing_key: Path
    platform: Platform
    tls: TlsFiles | None = None
    """Certificate of the telemetry receivers."""
    otlp_ca: Path | None = None
    """What runtimes check it against."""
    runtime_ca: Path | None = None
    """What runtimes with a certificate are checked against."""
    namespaces: tuple[str, ...] = ()
    host: str = "0.0.0.0"
    http_port: int = 8080
    otlp_http_port: int = 4318
    otlp_grpc_port: int = 4317
    status_port: int | None = None  # None: no status page
    check_every_s: float = CHECK_EVERY_S


class _Health:
    """What the liveness probe answers."""

    def __init__(self, check: WatchCheck) -> None:
        self._check = check

    async def answer(self, _: Request) -> Response:
        problem = self._check.problem(time.monotonic())
        if problem is not None:
            return JSONResponse({"status": "stalled", "reason": problem}, 503)
        return JSONResponse({"status": "ok"})


async def run(options: RunOptions) -> None:
    """Run until SIGINT or SIGTERM, which kopf handles.

    Raises:
        ConfigError: the signing key, or a file of TLS. KubeError: no cluster. OSError: a port
            is taken.
    """
    signing = SigningKeys(options.signing_key)
    metrics, traces = OperatorMetrics.create(), OperatorTraces.create()
    registry = Registry()
    check = WatchCheck()
    trust = Authorities(options.runtime_ca)
    board = None if options.status_port is None else Board()
    surroundings = _Platform(options.platform, Authorities(options.otlp_ca))

    def sink(points: list[Point]) -> Rejected:
        return registry.add(points, time.monotonic())

    intake = Intake(service_tokens(signing.keys), sink, metrics.received)
    async with contextlib.AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube.connect(metrics.api_called))
        http = bind(options.host, options.otlp_http_port)
        await stack.enter_async_context(serving(intake, http, options.tls))
        grpc_address = f"{options.host}:{options.otlp_grpc_port}"
        await stack.enter_async_context(serving_grpc(intake, grpc_address, options.tls))
        shared = Surroundings(
            kube=kube,
            platform=surroundings.now,
            signing=signing,
            trust=trust,
            registry=registry,
            metrics=metrics,
            traces=traces,
            clock=time.monotonic,
            board=board,
        )
        handlers = Handlers(shared)
        health = Starlette(
            routes=[Route("/healthz", _Health(check).answer), metrics.metrics_route()]
        )
        await stack.enter_async_context(serving_app(health, bind(options.host, options.http_port)))
        if board is not None and options.status_port is not None:
            listener = bind(options.host, options.status_port)
            shown_at = await stack.enter_async_context(serving_app(status_app(board), listener))
            LOG.info("status page at %s", shown_at)
        side = [
            asyncio.create_task(surroundings.keep_looking(kube)),
            asyncio.create_task(_keep_checking(shared, handlers, check, options)),
        ]
        try:
            await _run_kopf(handlers, options)
        finally:
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)
            await asyncio.to_thread(metrics.shutdown)
            await asyncio.to_thread(traces.shutdown)


async def _run_kopf(handlers: Handlers, options: RunOptions) -> None:
    registry = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=registry)(login)
    handlers.register(registry)
    await kopf.operator(
        registry=registry,
        settings=settings(),
        standalone=True,
        clusterwide=not options.namespaces,
        namespaces=options.namespaces,
    )


class _Platform:
    """The platform, with what the cluster offers looked up now and then."""

    def __init__(self, platform: Platform, authority: Authorities) -> None:
        self._platform = platform
        self._authority = authority

    def now(self) -> Platform:
        return replace(self._platform, otlp_ca=self._authority.pem())

    async def keep_looking(self, kube: Kube) -> None:
        while True:
            try:
                offered = await kube.has_service_monitors()
                self._platform = replace(self._platform, service_monitors=offered)
            except KubeError as error:
                LOG.warning("%s", error)
            await asyncio.sleep(MONITORS_EVERY_S)


async def _keep_checking(
    shared: Surroundings,
    handlers: Handlers,
    check: WatchCheck,
    options: RunOptions,
) -> None:
    metrics = shared.metrics
    while True:
        await asyncio.sleep(options.check_every_s)
        metrics.series_held(shared.registry.num_series)
        try:
            held = await shared.kube.generations(list(options.namespaces) or None)
        except KubeError as error:
            # Without the server nobody is behind: what cannot be compared is not judged.
            LOG.warning("%s", error)
            continue
        seen = {key: keeper.generation for key, keeper in handlers.keepers.items()}
        now_s = time.monotonic()
        check.compare(held, seen, now_s)
        metrics.watch_lag(check.lag_s(now_s))
        metrics.services(len(seen))
        metrics.pods_silent(sum(keeper.silent_pods for keeper in handlers.keepers.values()))
