"""The checks of `gpu_checks`, where there is a GPU."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no NVIDIA GPU here"),
    pytest.mark.timeout(900),
]
SCRIPT = Path(__file__).with_name("gpu_checks.py")


@pytest.mark.parametrize("model_runner", ["v2", "v1"])
@pytest.mark.parametrize("part", ["parity", "faults", "resize", "leaks"])
def test_gpu(part: str, model_runner: str) -> None:
    command = [sys.executable, str(SCRIPT), "--parts", part, "--model-runner", model_runner]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
