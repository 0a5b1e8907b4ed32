"""An ASGI app on a socket of our own, inside the operator's event loop.

The socket is bound before anything is served, so a taken port is an error at once, and port 0 is
resolved before anybody has to be told the address. Signals are never touched: they belong to the
operator.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp
from superinfer_contract.tls import TlsFiles, server_context

STOP_TIMEOUT_S = 2
MAX_HEAD_BYTES = 64 * 1024
KEEP_ALIVE_S = 75  # longer than senders pause, so that no report meets a closing connection


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to ``host:port`` (0: any free port).

    Raises:
        OSError: the port is taken or not allowed.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving_app(
    app: ASGIApp, listener: socket.socket, tls: TlsFiles | None = None
) -> AsyncIterator[str]:
    """Serve ``app`` on ``listener``, and close it, while the context lasts; gives its base URL.

    Raises:
        ConfigError: the files of ``tls`` cannot be used.
    """
    with contextlib.closing(listener):
        context = None if tls is None else server_context(tls)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            # The parser that bounds request heads; here nobody counts its microseconds.
            http="h11",
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
            ssl_context_factory=None if context is None else lambda *_: context,
        )
        server = _QuietServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
            yield _url(listener, "http" if tls is None else "https")
        finally:
            server.should_exit = True
            await task


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
