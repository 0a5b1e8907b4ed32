"""A real OpenTelemetry Collector on loopback, with the configuration that the chart makes for it.

Only addresses are changed: its receivers, its health check, where the operator is. Its own metrics
are off, because their port is the same for every collector of a machine.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from daemon_process import DaemonFailed, DaemonProcess, free_port
from helm import CHART, ROOT, Helm, helm_programs

BUILD = ROOT / "tools" / "controlplane" / "build-otelcol"
ADDRESS = "127.0.0.1"
READY_WITHIN_S = 30.0
IN_THE_WAY = {"otlpEndpoint": "http://collector:4318", "networkPolicy": {"enabled": False}}


@dataclass(frozen=True, slots=True)
class Collector:
    """A running one; made by `relaying`."""

    http: str
    grpc: str


def config_map(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chart makes of its values for a collector."""
    made: list[dict[str, Any]] = Helm(helm_programs()["helm4"]).objects(
        CHART, values, "--show-only", "templates/collector.yaml"
    )
    return made[0]


def configuration(collector: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Return the configuration that the chart makes of ``values``, those of ``collector`` too."""
    made = config_map({**IN_THE_WAY, **values, "collector": {"enabled": True, **collector}})
    config: dict[str, Any] = yaml.safe_load(made["data"]["relay"])
    return config


def validate(folder: Path, config: dict[str, Any]) -> None:
    """Let the collector read ``config`` as it is.

    Raises:
        DaemonFailed: it refuses it, or cannot be built.
    """
    file = folder / "collector.yaml"
    file.write_text(yaml.safe_dump(config))
    said = subprocess.run(
        [_program(), "validate", f"--config={file}"], capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise DaemonFailed(f"otelcol refuses it: {said.stderr}")


@contextlib.asynccontextmanager
async def relaying(
    folder: Path, config: dict[str, Any], operator_url: str
) -> AsyncIterator[Collector]:
    """Run ``config`` between loopback ports and ``operator_url``; its log lies in ``folder``.

    Raises:
        DaemonFailed: it cannot be built, or did not start.
    """
    program = await asyncio.to_thread(_program)
    http, grpc, health = (f"{ADDRESS}:{free_port()}" for _ in range(3))
    protocols = config["receivers"]["otlp"]["protocols"]
    protocols["http"]["endpoint"], protocols["grpc"]["endpoint"] = http, grpc
    config["extensions"]["health_check"]["endpoint"] = health
    config["exporters"]["otlphttp/superinfer"]["endpoint"] = operator_url
    config["service"]["telemetry"] = {"metrics": {"level": "none"}}
    file = folder / "collector.yaml"
    file.write_text(yaml.safe_dump(config))
    daemon = DaemonProcess("otelcol", [str(program), f"--config={file}"], folder / "collector.log")
    daemon.start()
    try:
        await daemon.until_answered(f"http://{health}", READY_WITHIN_S)
        scheme = "https" if "tls" in protocols["http"] else "http"
        yield Collector(f"{scheme}://{http}", f"{scheme}://{grpc}")
    finally:
        await daemon.stop()


def _program() -> Path:
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise DaemonFailed("there is no collector; see above")
    return Path(built.stdout.strip()) / "otelcol"
