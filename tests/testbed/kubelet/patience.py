"""Waiting, but not for ever."""

import asyncio
from collections.abc import Awaitable


async def within(timeout_s: float, awaited: Awaitable[object]) -> bool:
    """Wait for ``awaited`` at most ``timeout_s`` seconds; return whether it came in time."""
    try:
        async with asyncio.timeout(timeout_s):
            await awaited
    except TimeoutError:
        return False
    return True
