"""A runtime without an engine, for pods that must start in a second: all of it is real but vLLM.

HTTP front door, probes, budget routes, drain and telemetry are the product's own. In the engine's
place stands arithmetic: a request takes ``--kv-bytes`` for ``--hold-s`` seconds, those that do not
fit in HBM are rotary, and what does not fit in DRAM either makes its request miss its objectives.
So load makes pressure, DRAM relieves it, and calm takes it away.

    python light_runtime.py --config /etc/superinfer/config/runtime.json
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from superinfer_contract import exit_codes
from superinfer_contract.headers import SLO_CLASS
from superinfer_contract.runtime_config import RuntimeConfig, TierBudget
from superinfer_contract.tls import TlsFiles, server_context
from superinfer_contract.validation import ConfigError, load_model
from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.api_keys import ApiKeys
from superinfer_runtime.server.bounded_head import BoundedHead
from superinfer_runtime.server.budget_routes import BudgetRoutes, ResizableEngine
from superinfer_runtime.server.control_client import ControlClient, ControlRefused
from superinfer_runtime.server.drain import Drain
from superinfer_runtime.server.front_door import FrontDoor
from superinfer_runtime.server.probe_routes import probe_routes
from superinfer_runtime.server.stopping import Stopping
from superinfer_runtime.telemetry.meters import SloMeters
from superinfer_runtime.telemetry.otlp import meter_provider, shutdown
from superinfer_runtime.telemetry.snapshot import (
    EngineSnapshot,
    FinishSample,
    TierSnapshot,
    TtftSample,
)

MIB = 2**20


@dataclass
class LightEngine:
    """Budgets and the requests that press on them; stands in for the control socket too."""

    config: RuntimeConfig
    kv_bytes: int
    hold_s: float
    ballast: bool
    in_flight: int = 0
    stalls: int = 0
    held: dict[str, int] = field(default_factory=dict)
    memory: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        tiers = {"hbm": self.config.kv_cache.hbm, "dram": self.config.kv_cache.dram}
        self.bounds = {name: bounds or TierBudget(max=8 * MIB) for name, bounds in tiers.items()}
        self.held = {name: bounds.initial_bytes for name, bounds in self.bounds.items()}
        self.shares = {slo_class.name: 1.0 for slo_class in self.config.slo_classes}
        self._take_memory()

    @property
    def over_bytes(self) -> int:
        """KV that does not fit in HBM."""
        return max(self.in_flight * self.kv_bytes - self.held["hbm"], 0)

    async def get(self) -> EngineSnapshot:
        return self.snapshot()

    async def set(
        self,
        hbm_bytes: int | None,
        dram_bytes: int | None,
        class_shares: dict[str, float] | None = None,
    ) -> EngineSnapshot:
        self.shares.update(class_shares or {})
        for name, wish in (("hbm", hbm_bytes), ("dram", dram_bytes)):
            bounds = self.bounds[name]
            if wish is None:
                continue
            if not bounds.min <= wish <= bounds.max:
                raise ControlRefused(f"{name}_bytes must lie in {bounds.min}..{bounds.max}")
            self.held[name] = wish
        self._take_memory()
        return self.snapshot()

    def snapshot(self, **samples: Any) -> EngineSnapshot:
        used = {
            "hbm": min(self.in_flight * self.kv_bytes, self.held["hbm"]),
            "dram": min(self.over_bytes, self.held["dram"]),
        }
        tiers = {name: self._tier(name, used[name]) for name in used}
        return EngineSnapshot(
            rotation_off_reason=None,
            hbm=tiers["hbm"],
            dram=tiers["dram"],
            num_running=self.in_flight,
            num_rotary=self.over_bytes // self.kv_bytes,
            rotation_stalls=self.stalls,
            class_shares=dict(self.shares),
            **samples,
        )

    def _tier(self, name: str, used: int) -> TierSnapshot:
        bounds, held = self.bounds[name], self.held[name]
        return TierSnapshot(bounds.min, bounds.max, held, held, used, held - used, MIB)

    def _take_memory(self) -> None:
        """With ballast the DRAM tier is real memory, which the kubelet sees and accounts."""
        if self.ballast:
            self.memory = bytearray(b"\1") * self.held["dram"]


def app(engine: LightEngine, drain: Drain, meters: SloMeters | None) -> Starlette:
    names = {slo_class.name: slo_class for slo_class in engine.config.slo_classes}

    def tell(**samples: Any) -> None:
        if meters is not None:
            meters.record(engine.snapshot(**samples))

    async def complete(request: Request) -> JSONResponse:
        await request.body()
        slo_class = request.headers.get(SLO_CLASS) or engine.config.default_class.name
        if slo_class not in names:
            return JSONResponse({"error": {"message": "unknown class"}}, 400)
        engine.in_flight += 1
        started_s = time.monotonic()
        good = engine.over_bytes <= engine.held["dram"]
        engine.stalls += not good
        try:
            tell(ttft_samples=(TtftSample(slo_class, 0.01, good),))
            await asyncio.sleep(engine.hold_s)
        finally:
            engine.in_flight -= 1
            duration_s = time.monotonic() - started_s
            finish = FinishSample(slo_class, 0.01, duration_s, good, good)
            tell(finish_samples=(finish,))
        return JSONResponse({"choices": [{"text": "ok"}], "object": "text_completion"})

    budget = BudgetRoutes(
        AdminToken.of(engine.config.server),
        ResizableEngine(cast(ControlClient, engine), lambda: asyncio.sleep(0)),
    )
    served = Starlette(routes=[Route("/v1/completions", complete, methods=["POST"])])
    routes = [*probe_routes(lambda: "draining" if drain.draining else None), *budget.routes]
    limits = engine.config.server
    served.add_middleware(
        cast(Any, FrontDoor),
        routes=routes,
        drain=drain,
        api_keys=ApiKeys.of(limits),
        max_body_bytes=limits.max_body,
        max_requests=limits.max_concurrent_requests,
    )
    return served


async def serve(engine: LightEngine, meters: SloMeters | None) -> None:
    """Serve until SIGTERM, then drain as the real server does."""
    drain, config = Drain(), engine.config.server
    served = app(engine, drain, meters)
    tls = None
    if config.tls is not None:
        tls = server_context(TlsFiles(config.tls.certificate, config.tls.key))
    server = uvicorn.Server(
        uvicorn.Config(
            served,
            host=config.host,
            port=config.port,
            log_level="warning",
            lifespan="off",
            http=BoundedHead,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
    )
    served.state.server = server
    stopping = Stopping(drain, config.drain_s, lambda said: print(said, file=sys.stderr))
    nothing_to_end = SimpleNamespace(shutdown=lambda timeout: None)
    taking_over = asyncio.create_task(stopping.take_over(served, nothing_to_end))
    keep_telling = asyncio.create_task(_keep_telling(engine, meters))
    await server.serve()
    for task in (taking_over, keep_telling):
        task.cancel()


async def _keep_telling(engine: LightEngine, meters: SloMeters | None) -> None:
    """An idle engine reports too: its gauges must not go stale at the last request's values."""
    while meters is not None:
        meters.record(engine.snapshot())
        await asyncio.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--kv-bytes", type=int, default=MIB)
    parser.add_argument("--hold-s", type=float, default=0.5)
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--ballast", action="store_true")
    options = parser.parse_args()
    try:
        config = load_model(RuntimeConfig, options.config)
        provider = meter_provider(config.telemetry)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.CONFIG
    time.sleep(options.start_s)
    meters = None
    if provider is not None:
        meters = SloMeters(provider.get_meter("superinfer"), config.slo_classes, "light")
    engine = LightEngine(config, options.kv_bytes, options.hold_s, options.ballast)
    asyncio.run(serve(engine, meters))
    if provider is not None:
        shutdown(provider)
    return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
