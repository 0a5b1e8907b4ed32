"""A runtime for the operator's tests: the contract's HTTP and telemetry, no engine.

Run as the real one: ``python fake_runtime.py [options] --config runtime.json``. Its objectives are
missed until its DRAM budget reaches ``--needs-dram``; then they are met.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import uvicorn
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from superinfer_contract import exit_codes
from superinfer_contract.kv_budget import PATH, KvBudget, KvBudgetPatch, TierState
from superinfer_contract.metrics import (
    KV_HEADROOM,
    REQUESTS,
    SLO_REQUESTS,
    Attribute,
    Outcome,
    Tier,
)
from superinfer_contract.runtime_config import RuntimeConfig
from superinfer_contract.validation import load_model

MIB = 2**20


class FakeRuntime:
    """Holds the budgets; a tier's new size is in force at once."""

    def __init__(self, config: RuntimeConfig, needs_dram: int) -> None:
        assert config.kv_cache.dram is not None
        assert config.server.admin_token_file is not None
        self.config = config
        self.needs_dram = needs_dram
        self.dram = config.kv_cache.dram.initial_bytes
        self.token = config.server.admin_token_file.read_text()

    @property
    def suffers(self) -> bool:
        return self.dram < self.needs_dram

    def budget(self) -> KvBudget:
        bounds = self.config.kv_cache.dram
        assert bounds is not None
        used = self.dram if self.suffers else self.dram * 3 // 4
        dram = TierState(
            min_bytes=bounds.min,
            max_bytes=bounds.max,
            desired_bytes=self.dram,
            allocated_bytes=self.dram,
            in_use_bytes=used,
            step_bytes=MIB,
        )
        hbm = dram.model_copy(
            update={
                "min_bytes": 8 * MIB,
                "max_bytes": 8 * MIB,
                "desired_bytes": 8 * MIB,
                "allocated_bytes": 8 * MIB,
                "in_use_bytes": 8 * MIB,
            }
        )
        return KvBudget(hbm=hbm, dram=dram, pending=False)

    def start_telemetry(self) -> None:
        telemetry = self.config.telemetry
        assert telemetry.otlp_token_file is not None
        token = telemetry.otlp_token_file.read_text()
        exporter = OTLPMetricExporter(
            endpoint=f"{telemetry.otlp_endpoint}/v1/metrics",
            headers={"authorization": f"Bearer {token}"},
        )
        reader = PeriodicExportingMetricReader(
            exporter, export_interval_millis=telemetry.interval_s * 1000
        )
        provider = MeterProvider([reader], Resource(telemetry.resource), shutdown_on_exit=False)
        meter = provider.get_meter("fake")
        judged = {Outcome.GOOD: 0, Outcome.BAD: 0}

        def count(_: CallbackOptions) -> Iterable[Observation]:
            judged[Outcome.BAD if self.suffers else Outcome.GOOD] += 20
            for outcome, number in judged.items():
                yield Observation(
                    number,
                    {
                        Attribute.SLO_CLASS.value: "chat",
                        Attribute.OBJECTIVE.value: "ttft",
                        Attribute.OUTCOME.value: outcome.value,
                    },
                )

        def rotary(_: CallbackOptions) -> Iterable[Observation]:
            yield Observation(3 if self.suffers else 0, {Attribute.STATE.value: "rotary"})

        def headroom(_: CallbackOptions) -> Iterable[Observation]:
            left = 0 if self.suffers else self.dram // 4
            yield Observation(left, {Attribute.TIER.value: Tier.DRAM.value})

        meter.create_observable_counter(SLO_REQUESTS.name, [count])
        meter.create_observable_gauge(REQUESTS.name, [rotary])
        meter.create_observable_gauge(KV_HEADROOM.name, [headroom])

    def app(self) -> Starlette:
        async def ok(_: Request) -> Response:
            return Response()

        async def budget(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self.token}":
                return JSONResponse({"error": {"message": "no"}}, status_code=401)
            if request.method == "PATCH":
                patch = KvBudgetPatch.model_validate_json(await request.body())
                self.dram = patch.dram_bytes or self.dram
            return JSONResponse(self.budget().model_dump())

        return Starlette(
            routes=[
                Route("/live", ok),
                Route("/ready", ok),
                Route(PATH, budget, methods=["GET", "PATCH"]),
            ]
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--pids", type=Path, required=True, help="file that gets a pid a line")
    parser.add_argument("--needs-dram", type=int, default=0)
    parser.add_argument("--exit", type=int, help="exit at once with this code")
    parser.add_argument("--crash-times", type=int, default=0, help="exit 3 in the first lives")
    parser.add_argument("--hang", action="store_true", help="never get ready, ignore SIGTERM")
    options = parser.parse_args()
    with options.pids.open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    lives = len(options.pids.read_text().split())
    if options.exit is not None:
        print("kv_cache.hbm: too small for the model", file=sys.stderr)
        return int(options.exit)
    if lives <= options.crash_times:
        print("engine core died", file=sys.stderr)
        return exit_codes.FAILURE + 2
    if options.hang:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # A process of its own that holds the pipes open, as an engine core would.
        engine = subprocess.Popen(["sleep", "600"])
        with options.pids.open("a") as pids:
            pids.write(f"{engine.pid}\n")
        threading.Event().wait()
    runtime = FakeRuntime(load_model(RuntimeConfig, options.config), options.needs_dram)
    runtime.start_telemetry()
    server = runtime.config.server
    uvicorn.run(runtime.app(), host=server.host, port=server.port, log_level="warning")
    return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
