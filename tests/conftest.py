"""For all tests: hypothesis without deadline, because cores are shared; the recorded traces."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("superinfer", deadline=None, derandomize=False)
settings.load_profile("superinfer")


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    default = Path(__file__).parents[2] / "shared" / "traces"
    path = Path(os.environ.get("SUPERINFER_TRACES", default))
    if not path.is_dir():
        pytest.skip(f"no workload traces at {path}: set SUPERINFER_TRACES to their folder")
    return path
