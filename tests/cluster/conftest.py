"""The real API server for tests: one control plane a test session, one namespace a test."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from control_plane import ControlPlane
from kubelet.cluster_objects import ClusterObjects
from kubelet.host import Settings
from kubelet.loop_thread import in_thread
from kubelet.node import Node
from kubelet.process_kubelet import ProcessKubelet
from kubelet.worker_nodes import worker_nodes


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that no test stops or breaks."""
    started = ControlPlane.start(tmp_path_factory.mktemp("control-plane"))
    with in_thread(started) as control_plane:
        yield control_plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def kubelet(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessKubelet]:
    """Two nodes for one module's tests."""
    nodes = [Node.gh200("gh-0"), Node.gh200("gh-1")]
    folder = tmp_path_factory.mktemp("kubelet")
    settings = Settings(first_backoff_s=1)
    with in_thread(worker_nodes(control_plane.kubeconfig(), nodes, folder, settings)) as kubelet:
        yield kubelet


@pytest.fixture
def objects(control_plane: ControlPlane, namespace: str) -> ClusterObjects:
    """Objects of the test's own namespace."""
    return ClusterObjects(control_plane, namespace)


@pytest.fixture
async def own_control_plane(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    """A control plane of the test's own, to stop and break."""
    async with ControlPlane.start(tmp_path) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the operator installed, which no test stops or breaks."""
    with in_thread(Cluster.start(tmp_path_factory.mktemp("cluster"))) as cluster:
        asyncio.run(cluster.install_operator())
        yield cluster


@pytest.fixture
async def team(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace of the test's own in the operator's cluster, emptied after it."""
    name = f"team-{uuid.uuid4().hex[:8]}"
    await cluster.kubectl("create", "namespace", name)
    yield name
    await cluster.kubectl("-n", name, "delete", "sis", "--all", "--timeout=60s")
    await cluster.kubectl("delete", "namespace", name, "--wait=false")
