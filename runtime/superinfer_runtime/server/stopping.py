"""Graceful stop: SIGTERM or SIGINT drains, a second SIGINT cuts the drain short.

vLLM's `serve_http` and uvicorn install handlers that end everything at once, so these replace them
once the server has started. The order at the end is vLLM's own: first the engine (its process gets
SIGTERM and a moment), then the HTTP server. The engine is started with vLLM's own drain
(``--shutdown-timeout``), so that a Ctrl-C, which the terminal sends to every process of the group,
does not abort there what is being drained here.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from superinfer_runtime.server.drain import Drain

ENGINE_STOP_S = 10.0
"""Time for the engine process to end by itself; then its process tree is killed."""
CONNECTIONS_CLOSE_S = 5
_POLL_S = 0.05

Say = Callable[[str], None]


class Stopping:
    """Owns the signals of a serving process from start-up to exit."""

    def __init__(self, drain: Drain, drain_s: float, say: Say) -> None:
        self._drain = drain
        self._drain_s = drain_s
        self._say = say
        self._cut = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def requested(self) -> bool:
        return self._task is not None

    @property
    def was_cut(self) -> bool:
        """Whether a second SIGINT ended the drain."""
        return self._cut.is_set()

    async def take_over(self, app: Any, engine_client: Any) -> None:
        """Install the handlers as soon as uvicorn has installed its own and started."""
        while not getattr(getattr(app.state, "server", None), "started", False):
            await asyncio.sleep(_POLL_S)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.on_signal, number, app.state.server, engine_client)

    def on_signal(self, number: signal.Signals, server: Any, engine_client: Any) -> None:
        """Begin to drain; a SIGINT while draining cuts it short."""
        if self._task is None:
            self._drain.begin()
            self._task = asyncio.create_task(self._stop(server, engine_client))
        elif number == signal.SIGINT:
            self._cut.set()

    async def _stop(self, server: Any, engine_client: Any) -> None:
        count = self._drain.num_in_flight
        self._say(f"draining: {count} in flight, up to {self._drain_s:g} s")
        await _first_of(self._drain.idle(), self._cut.wait(), timeout_s=self._drain_s)
        if left := self._drain.num_in_flight:
            self._say(f"drain ended with {left} unfinished; they are cut off")
        # The engine's end reaches vLLM's output handler as an error that it logs; here it is meant.
        logging.getLogger("vllm.v1.engine.async_llm").setLevel(logging.CRITICAL)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, partial(engine_client.shutdown, timeout=ENGINE_STOP_S))
        server.config.timeout_graceful_shutdown = CONNECTIONS_CLOSE_S
        server.should_exit = True


async def _first_of(*waits: Any, timeout_s: float) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
