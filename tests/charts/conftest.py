"""Both versions of Helm; a test that asks for `helm` runs with each."""

from pathlib import Path

import pytest
from helm import PROGRAMS, Helm, helm_programs


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    return helm_programs()


@pytest.fixture(params=PROGRAMS)
def helm(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Helm:
    """Helm without a cluster."""
    return Helm(programs[request.param])
