"""What is in flight, and whether the server still takes more.

Draining begins once and never ends: from then on no request is admitted, so the number in flight
only falls.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Drain:
    """Counts requests in flight. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._draining = False
        self._num_in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def num_in_flight(self) -> int:
        return self._num_in_flight

    def begin(self) -> None:
        """Admit no more requests."""
        self._draining = True

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as in flight for the length of the block."""
        self._num_in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._num_in_flight -= 1
            if self._num_in_flight == 0:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is in flight."""
        await self._idle.wait()
