"""Both versions of Helm, where a test that asks for `helm` runs with each; a cluster for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from helm import PROGRAMS, Helm, helm_programs
from kubelet.loop_thread import in_thread


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    return helm_programs()


@pytest.fixture(params=PROGRAMS)
def helm(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Helm:
    """Helm without a cluster."""
    return Helm(programs[request.param])


@pytest.fixture(scope="module")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without the operator, for one module's tests."""
    with in_thread(Cluster.start(tmp_path_factory.mktemp("charts"))) as cluster:
        yield cluster
