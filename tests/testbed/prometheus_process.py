"""A real Prometheus on loopback that scrapes what it is told to, under the rules that we ship.

Its programs come from `tools/monitoring/prometheus`. Prometheus' own intervals are in whole
milliseconds; a second between scrapes lets a short run show something.
"""

import asyncio
import contextlib
import math
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from daemon_process import DaemonFailed, DaemonProcess, free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tools" / "monitoring" / "prometheus"
RULES = ROOT / "deploy" / "charts" / "superinfer" / "files" / "rules.yaml"
READY_WITHIN_S = 30.0


def programs() -> Path:
    """Return the folder of prometheus and promtool, unpacking them if this machine has none.

    Raises:
        DaemonFailed: there are none; why is on standard error.
    """
    found = subprocess.run([PROGRAMS], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise DaemonFailed("there is no Prometheus; see above")
    return Path(found.stdout.strip())


@dataclass(frozen=True, slots=True)
class Target:
    """One address (``host:port``) whose /metrics is scraped, and what its series are labelled."""

    job: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One series of an answer; of an instant query, one point."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one; made by `scraping`."""

    http: httpx.AsyncClient

    @classmethod
    @contextlib.asynccontextmanager
    async def scraping(
        cls, folder: Path, targets: Sequence[Target], interval: str = "1s"
    ) -> AsyncIterator["Prometheus"]:
        """Scrape ``targets`` while the context lasts; data and log lie in ``folder``.

        Raises:
            DaemonFailed: it did not start.
        """
        folder.mkdir(parents=True, exist_ok=True)
        program = await asyncio.to_thread(programs)
        config, port = folder / "prometheus.yaml", free_port()
        config.write_text(yaml.safe_dump(_config(targets, interval)))
        daemon = DaemonProcess(
            "prometheus",
            [
                str(program / "prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus.log",
        )
        daemon.start()
        # trust_env off: loopback never goes through a proxy.
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
            try:
                await daemon.until_answered(f"{url}/-/ready", READY_WITHIN_S)
                yield cls(http)
            finally:
                await daemon.stop()

    async def query(self, expr: str) -> list[Line]:
        """What ``expr`` is now, numbers only: no NaN.

        Raises:
            httpx.HTTPStatusError: it is no query.
        """
        found = await self._get("/api/v1/query", query=expr)
        values = [found["result"]] if found["resultType"] == "scalar" else None
        if values is not None:
            return [Line({}, _numbers(values))]
        lines = [Line(each["metric"], _numbers([each["value"]])) for each in found["result"]]
        return [line for line in lines if line.points]

    async def query_range(
        self, expr: str, start_s: float, end_s: float, step_s: float
    ) -> list[Line]:
        """What ``expr`` was from ``start_s`` to ``end_s`` (Unix time), numbers only."""
        found = await self._get(
            "/api/v1/query_range", query=expr, start=start_s, end=end_s, step=step_s
        )
        lines = [Line(each["metric"], _numbers(each["values"])) for each in found["result"]]
        return [line for line in lines if line.points]

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule as Prometheus holds it, with its health."""
        groups = (await self._get("/api/v1/rules"))["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def names(self) -> set[str]:
        """The names of all series."""
        return set(await self._get("/api/v1/label/__name__/values"))

    async def _get(self, path: str, **parameters: Any) -> Any:
        answer = await self.http.get(path, params=parameters)
        answer.raise_for_status()
        return answer.json()["data"]


def _config(targets: Sequence[Target], interval: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": target.job,
                "static_configs": [{"targets": [target.address], "labels": dict(target.labels)}],
            }
            for target in targets
        ],
    }


def _numbers(values: Sequence[Sequence[Any]]) -> tuple[tuple[float, float], ...]:
    points = ((float(at), float(value)) for at, value in values)
    return tuple((at, value) for at, value in points if not math.isnan(value))
