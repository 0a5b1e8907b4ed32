"""The status page of a real `superinfer-operator up` under load, as a real browser shows it."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import Browser
from PIL import Image
from steady_load import SteadyLoad
from superinfer_operator.telemetry.http_server import bind

pytestmark = pytest.mark.e2e

RUNTIME = Path(__file__).parents[1] / "testbed" / "light_runtime.py"
SPEC = {
    "sloClasses": [{"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1}],
    "kvCache": {
        "hbm": {"max": "8Mi"},
        "dram": {"min": "2Mi", "max": "32Mi", "initial": "4Mi", "step": "4Mi"},
        "slab": "1Mi",
    },
    "server": {"drainSeconds": 1},
    "telemetry": {"intervalSeconds": 0.5},
    "budget": {"windowSeconds": 5, "minEvents": 5, "cooldownSeconds": 1},
}


@dataclass(frozen=True, slots=True)
class Up:
    """A running `up`."""

    runtime: str
    page: str

    def service(self) -> dict[str, Any]:
        (service,) = httpx.get(f"{self.page}/api/v1/services", trust_env=False).json()["services"]
        found: dict[str, Any] = service
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    ports = [bind("127.0.0.1", 0) for _ in range(2)]
    serving, status = (each.getsockname()[1] for each in ports)
    for each in ports:
        each.close()
    file = tmp_path / "service.json"
    about = {"apiVersion": "superinfer.dev/v1alpha1", "kind": "SuperInferService"}
    file.write_text(json.dumps({**about, "metadata": {"name": "shop"}, "spec": SPEC}))
    command = [sys.executable, "-m", "superinfer_operator", "up", file]
    options = [f"--port={serving}", f"--status-port={status}"]
    runtime = f"--runtime-command={sys.executable} {RUNTIME}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, *options, runtime], stderr=log, stdout=log)
    try:
        yield Up(f"http://127.0.0.1:{serving}", f"http://127.0.0.1:{status}")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0, (tmp_path / "log").read_text()


async def test_a_browser_shows_a_service_under_load(up: Up, tmp_path: Path) -> None:
    browser = Browser.found(tmp_path)
    await browser.until(lambda: up.service()["ready_replicas"] == 1)
    async with SteadyLoad.on(up.runtime, concurrency=20) as load:
        await browser.until(lambda: "landed" in [step["outcome"] for step in up.service()["steps"]])
        text = await browser.text(up.page)
        shown = await browser.screenshot(up.page)
    assert load.failures == []

    for word in ("shop", "1 of 1 replica ready", "chat", "GrowDRAM", "landed", "grow DRAM 4Mi"):
        assert word in text
    assert "No SuperInferService" not in text
    with Image.open(shown) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    background = max(colours)[0]
    assert background < 0.98 * image.width * image.height, "an empty page"
    assert len(colours) > 50
