"""Front-end side of the control socket (the engine's side is `engine/control.py`).

One connection a message: changes are rare, and an engine that came back listens anew. Every wait is
bounded, because an HTTP request hangs on it.
"""

import asyncio
import json
from typing import Any

from superinfer_runtime.telemetry.snapshot import EngineSnapshot

TIMEOUT_S = 5.0
_MAX_REPLY_BYTES = 4 * 2**20


class ControlUnavailable(Exception):
    """The engine's control socket did not answer."""


class ControlRefused(Exception):
    """The engine refused the wish; the message says its bounds."""


class ControlClient:
    """Speaks to the engine-core process behind ``path``."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    async def get(self) -> EngineSnapshot:
        """Return the last snapshot.

        Raises:
            ControlUnavailable: no answer. ControlRefused: an error answer.
        """
        return await self._ask({"op": "get"})

    async def set(
        self,
        hbm_bytes: int | None,
        dram_bytes: int | None,
        class_shares: dict[str, float] | None = None,
    ) -> EngineSnapshot:
        """Wish for budgets in bytes and shares (None: as it is); wake an idle engine then.

        Raises:
            ControlUnavailable: no answer. ControlRefused: out of bounds.
        """
        wish = {"hbm_bytes": hbm_bytes, "dram_bytes": dram_bytes, "class_shares": class_shares}
        return await self._ask({"op": "set", **wish})

    async def _ask(self, message: dict[str, Any]) -> EngineSnapshot:
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._exchange(json.dumps(message).encode() + b"\n")
            reply = json.loads(line)
            if "error" in reply:
                raise ControlRefused(str(reply["error"]))
            return EngineSnapshot.from_dict(reply["snapshot"])
        except (OSError, TimeoutError) as error:
            said = str(error) or "no answer in time"
            raise ControlUnavailable(f"the engine's control socket: {said}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ControlUnavailable("the engine's control socket: unreadable answer") from error

    async def _exchange(self, line: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_MAX_REPLY_BYTES)
        try:
            writer.write(line)
            await writer.drain()
            return await reader.readline()
        finally:
            writer.close()
