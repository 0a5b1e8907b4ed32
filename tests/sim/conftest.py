"""The folder of recorded traces."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    default = Path(__file__).parents[3] / "shared" / "traces"
    path = Path(os.environ.get("SUPERINFER_TRACES", default))
    if not path.is_dir():
        pytest.skip(f"no workload traces at {path}: set SUPERINFER_TRACES to their folder")
    return path
