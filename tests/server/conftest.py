"""A fake engine behind a real control socket, and ASGI clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp
from superinfer_runtime.engine.control import BudgetError, checked_wish
from superinfer_runtime.telemetry.snapshot import EngineSnapshot, TierSnapshot

MIB = 2**20
TIER = TierSnapshot(
    min_bytes=4 * MIB,
    max_bytes=64 * MIB,
    desired_bytes=16 * MIB,
    budget_bytes=16 * MIB,
    used_bytes=5 * MIB,
    headroom_bytes=11 * MIB,
    step_bytes=4 * MIB,
)


@dataclass
class FakeEngine:
    """Answers on its control socket as the scheduler does; wishes take effect when it is woken."""

    path: Path
    snapshot: EngineSnapshot = field(
        default_factory=lambda: EngineSnapshot(
            rotation_off_reason=None, hbm=TIER, dram=TIER, class_shares={"chat": 1.0}
        )
    )
    pins_at_once: bool = True
    num_woken: int = 0

    async def wake(self) -> bool:
        self.num_woken += 1
        if self.pins_at_once:
            dram = replace(self.snapshot.dram, budget_bytes=self.snapshot.dram.desired_bytes)
            self.snapshot = replace(self.snapshot, dram=dram)
        return False

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["op"] == "set":
            try:
                wish = checked_wish(message, self.snapshot)
            except BudgetError as error:
                return {"error": str(error)}
            shares = {**self.snapshot.class_shares, **wish.class_shares}
            self.snapshot = replace(self.snapshot, class_shares=shares)
            if wish.dram_bytes is not None:
                dram = replace(self.snapshot.dram, desired_bytes=wish.dram_bytes)
                self.snapshot = replace(self.snapshot, dram=dram)
        return {"snapshot": self.snapshot.to_dict()}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "control.sock")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(fake.answer(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(handle, fake.path):
        yield fake


Client = Callable[[ASGIApp], httpx.AsyncClient]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A maker of clients that speak to an ASGI application in this process."""
    made: list[httpx.AsyncClient] = []

    def make(app: ASGIApp) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app)
        made.append(httpx.AsyncClient(transport=transport, base_url="http://server", timeout=10))
        return made[-1]

    yield make
    closing: list[Awaitable[None]] = [one.aclose() for one in made]
    await asyncio.gather(*closing)
