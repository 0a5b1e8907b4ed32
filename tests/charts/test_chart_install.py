"""The charts on the real API server, by each version of Helm, the operator a restricted pod.

The operator's upgrades happen beside a service under load, which must not notice them.
"""

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cluster import OPERATOR, SIGNING_SECRET, Cluster, holds, light_service
from helm import CHART, NAMESPACE, PROGRAMS, HelmFailed
from helm_release import HelmRelease, kept_crd
from steady_load import SteadyLoad

pytestmark = pytest.mark.cluster

TEAM, NAME = "team", "chat"
READY = holds("Ready", "Servable", "TelemetryAvailable")


@pytest.fixture(params=PROGRAMS)
def release(
    request: pytest.FixtureRequest, bare_cluster: Cluster, programs: dict[str, Path]
) -> HelmRelease:
    return HelmRelease.of(bare_cluster, programs[request.param])


@pytest.fixture
async def team(bare_cluster: Cluster) -> AsyncIterator[str]:
    await bare_cluster.kubectl("create", "namespace", TEAM)
    yield TEAM
    await bare_cluster.kubectl("delete", "namespace", TEAM, "--timeout=60s")


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """The chart as an earlier version of it: another number, and no disruption budget yet."""
    older = tmp_path / CHART.name
    shutil.copytree(CHART, older)
    about = older / "Chart.yaml"
    about.write_text(about.read_text().replace("\nversion: 0.1.0", "\nversion: 0.0.9"))
    (older / "templates" / "poddisruptionbudget.yaml").unlink()
    return older


async def test_a_release_s_life(release: HelmRelease, team: str, older_chart: Path) -> None:
    cluster = release.cluster
    await release.install(chart=older_chart)
    await without_an_operator_the_test_fails(release)
    await release.test()
    await cluster.apply(light_service(NAME, team, replicas=1))
    await cluster.until(team, "sis", NAME, READY)
    url, key = await cluster.address(team, NAME), await signing_key(cluster)

    async with SteadyLoad.on(url, concurrency=2) as load:
        await release.upgrade({"logLevel": "debug", "watchNamespaces": [team]})
        assert await operator_flag(cluster, "--log-level") == "debug"
        assert await operator_flag(cluster, "--namespace") == team
        assert not await operator_may(cluster, "create", "deployments", NAMESPACE)
        assert await cluster.get(NAMESPACE, "pdb", OPERATOR)
        assert await signing_key(cluster) == key
        await reconciled(cluster, team, replicas=2)

        await release.roll_back()
        assert await release.revision() == 3
        assert await operator_flag(cluster, "--log-level") == "info"
        assert await operator_may(cluster, "create", "deployments", NAMESPACE)
        assert not await cluster.get(NAMESPACE, "pdb", OPERATOR)
        assert await signing_key(cluster) == key
        await reconciled(cluster, team, replicas=1)

    assert load.answered > 0
    assert load.failures == []

    await cluster.kubectl("-n", team, "delete", "sis", NAME, "--timeout=60s")
    await gone(cluster, team)
    assert await release.uninstall() == []
    assert kept_crd() in await cluster.kubectl("get", "crds", "--output=name")


async def without_an_operator_the_test_fails(release: HelmRelease) -> None:
    deployment = ("-n", NAMESPACE, "scale", "deployment", OPERATOR)
    await release.cluster.kubectl(*deployment, "--replicas=0")
    no_pods = "--for=delete", "--selector=app.kubernetes.io/name=superinfer-operator"
    await release.cluster.kubectl("-n", NAMESPACE, "wait", "pod", *no_pods, "--timeout=60s")
    with pytest.raises(HelmFailed):
        await release.test()
    await release.cluster.kubectl(*deployment, "--replicas=1")
    await release.cluster.operator_pod()


async def reconciled(cluster: Cluster, team: str, replicas: int) -> None:
    """Wait until the operator has carried out a change made now."""
    await cluster.kubectl("-n", team, "scale", "sis", NAME, f"--replicas={replicas}")
    await cluster.until(team, "sis", NAME, lambda sis: READY(sis) and replicas_of(sis) == replicas)


def replicas_of(sis: dict[str, dict[str, int]]) -> int:
    return sis["status"]["readyReplicas"]


async def signing_key(cluster: Cluster) -> str:
    found = await cluster.get(NAMESPACE, "secret", SIGNING_SECRET)
    key: str = found["data"]["key"]
    assert len(base64.b64decode(key)) == 64
    return key


async def operator_flag(cluster: Cluster, flag: str) -> str:
    pod = await cluster.get(NAMESPACE, "pod", await cluster.operator_pod())
    (value,) = (
        argument.removeprefix(f"{flag}=")
        for argument in pod["spec"]["containers"][0]["args"]
        if argument.startswith(f"{flag}=")
    )
    return str(value)


async def operator_may(cluster: Cluster, verb: str, kind: str, namespace: str) -> bool:
    """Whether RBAC lets the operator's ServiceAccount do that."""
    user = f"--as=system:serviceaccount:{NAMESPACE}:{OPERATOR}"
    asked = await asyncio.to_thread(
        cluster.control_plane.run_kubectl, "-n", namespace, "auth", "can-i", verb, kind, user
    )
    return asked.stdout.strip() == "yes"


async def gone(cluster: Cluster, team: str) -> None:
    """Wait until all that the operator made of the service is gone."""
    async with asyncio.timeout(60):
        while await cluster.items(team, "all,secrets,pdb", "app.kubernetes.io/part-of=superinfer"):
            await asyncio.sleep(0.5)
