"""An ASGI application on a real port of loopback, by uvicorn as the runtime uses it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp
from superinfer_runtime.server.bounded_head import BoundedHead


@asynccontextmanager
async def served_app(app: ASGIApp, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve ``app`` while the context lasts; gives the port."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=0,
            log_config=None,
            lifespan="off",
            http=BoundedHead,
            timeout_graceful_shutdown=1,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
    )
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
