"""Real vLLM, tokens compared one by one: rotation must change nothing but time.

fp32, real-scaled random weights, seeded sampling, a KV budget of a third of what the requests need.
The negative control brings zeros back from DRAM and must make the same comparison fail.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from superinfer_runtime.tiny_model import ensure_tiny_model

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parents[1] / "testbed" / "parity_run.py"
SETTINGS = ("plain", "rotating", "rotating-caching", "corrupting")


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """All settings in one process: importing vLLM takes longer than generating."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(ensure_tiny_model()), *SETTINGS],
        env={
            **os.environ,
            "PYTHONPATH": str(SCRIPT.parent),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    line = next(line for line in run.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


@pytest.mark.parametrize("setting", ["rotating", "rotating-caching"])
def test_rotation_changes_no_token(results: dict[str, Any], setting: str) -> None:
    assert results[setting]["rotations_out"] > 50
    assert results[setting]["rotations_in"] == results[setting]["rotations_out"]
    assert results[setting]["tokens"] == results["plain"]["tokens"]


@pytest.mark.parametrize("setting", ["rotating", "rotating-caching"])
def test_every_resume_computes_exactly_one_token(results: dict[str, Any], setting: str) -> None:
    resumed = results[setting]["resumed_tokens"]
    assert len(resumed) == results[setting]["rotations_in"]
    assert set(resumed) == {1}
    assert results[setting]["recompute_preemptions"] == 0


@pytest.mark.parametrize("setting", ["rotating", "rotating-caching"])
def test_nothing_is_left_in_either_tier(results: dict[str, Any], setting: str) -> None:
    assert results[setting]["used_slots"] == 0
    assert results[setting]["open_jobs"] == 0
    assert results[setting]["blocks_in_use"] == 0


def test_the_comparison_fails_when_the_copy_is_corrupted(results: dict[str, Any]) -> None:
    assert results["corrupting"]["rotations_in"] > 50
    assert results["corrupting"]["tokens"] != results["plain"]["tokens"]
