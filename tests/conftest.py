"""For all tests: which run beside which, hypothesis without deadline, and the recorded traces."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

CLUSTERS = (
    "tests/cluster/",
    "tests/charts/",
    "tests/monitoring/test_live_dashboards.py",
    "tests/docs/test_commands.py::test_commands_on_a_cluster",
)

settings.register_profile("superinfer", deadline=None, derandomize=False)
settings.load_profile("superinfer")


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    default = Path(__file__).parents[2] / "shared" / "traces"
    path = Path(os.environ.get("SUPERINFER_TRACES", default))
    if not path.is_dir():
        pytest.skip(f"no workload traces at {path}: set SUPERINFER_TRACES to their folder")
    return path


class OneClusterAtATime(LoadScopeScheduling):
    """Control planes start in one worker only: two at once starve each other on two cores.

    By folder, because pytest-xdist 3.8 puts ``xdist_group`` where pytest 9.2 no longer reads it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "cluster" if nodeid.startswith(CLUSTERS) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneClusterAtATime:
    return OneClusterAtATime(config, log)
