"""An asynchronous context in an event loop of its own thread, so that no test can block it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def in_thread(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Hold ``context`` open in a loop that runs beside the caller."""
    entered: Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def hold() -> None:
        stop = asyncio.Event()
        async with context as value:
            entered.set_result((value, asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1, thread_name_prefix="testbed") as thread:
        held = thread.submit(asyncio.run, hold())
        either: set[Future[Any]] = {entered, held}
        wait(either, return_when=FIRST_COMPLETED)
        if not entered.done():
            held.result()
        value, loop, stop = entered.result()
        try:
            yield value
        finally:
            if not held.done():
                loop.call_soon_threadsafe(stop.set)
            held.result()
