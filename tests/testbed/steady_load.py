"""A steady load on one service: so many requests at a time, each on a connection of its own.

As a client behind a Service would: no retries, so that each failure counts.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

REQUEST_TIMEOUT_S = 60.0


@dataclass
class SteadyLoad:
    """What came of the requests."""

    url: str
    concurrency: int
    pause_s: float = 0.0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _stopping: bool = False

    @classmethod
    @asynccontextmanager
    async def on(
        cls, url: str, concurrency: int, pause_s: float = 0.0
    ) -> AsyncIterator["SteadyLoad"]:
        """Load ``url`` while the context lasts; what is under way at its end is waited for."""
        load = cls(url, concurrency, pause_s)
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(load._work())
            try:
                yield load
            finally:
                load._stopping = True

    async def _work(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            trust_env=False, timeout=REQUEST_TIMEOUT_S, limits=limits
        ) as client:
            while not self._stopping:
                try:
                    answer = await client.post(f"{self.url}/v1/completions", json={"prompt": "a"})
                    answer.raise_for_status()
                    self.answered += 1
                    await asyncio.sleep(self.pause_s)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    await asyncio.sleep(0.1)
