"""Real vLLM on the CPU, tokens compared one by one: rotation must change nothing but time.

fp32, real-scaled random weights, seeded sampling, a KV budget of a third of what the requests need;
each part is the one that runs on GPUs (`tests/gpu/gpu_checks.py`), in a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[1] / "gpu" / "gpu_checks.py"
MIN_ROTATIONS = 50


def check(part: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run one part; return its findings, having passed by its own judgement."""
    file = folder / f"{part}.json"
    command = [sys.executable, str(SCRIPT), "--parts", part, "--json", str(file), *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=290)
    assert run.returncode == 0, run.stdout
    found: dict[str, Any] = json.loads(file.read_text())[part]
    assert found["problems"] == []
    return found


def test_rotation_changes_no_token_and_corrupted_copies_show(tmp_path: Path) -> None:
    found = check("parity", tmp_path)
    for setting in ("rotating", "rotating-caching"):
        assert found[setting]["identical"] == found["requests"]
        assert found[setting]["rotations_in"] > MIN_ROTATIONS
        assert found[setting]["resumes_of_one_token"] == found[setting]["rotations_in"]
        assert found[setting]["recompute_preemptions"] == 0
        assert not any(found[setting]["left_over"].values())
    assert found["corrupting"]["rotations_in"] > MIN_ROTATIONS
    assert found["corrupting"]["identical"] < found["requests"] / 2


def test_faults_end_in_recompute_and_the_same_tokens(tmp_path: Path) -> None:
    found = check("faults", tmp_path)
    assert found["failing"]["copy_failures"] > 0
    assert found["stuck"]["copy_failures"] == 1
    assert found["stuck"]["rotations_in"] > 0
    assert all(found[fault]["identical"] == 12 for fault in ("failing", "stuck", "refusing"))


def test_churn_and_resizes_leave_nothing(tmp_path: Path) -> None:
    found = check("leaks", tmp_path, "--seconds", "15")
    assert found["rotations_out"] > MIN_ROTATIONS
    assert found["slabs_at_the_engine"] == 0
