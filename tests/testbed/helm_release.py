"""The operator as Helm installs it into a cluster: both charts, with what is left of them after."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import Cluster
from helm import CHART, CRDS_CHART, NAMESPACE, RELEASE, Helm
from superinfer_contract.service import GROUP

CRDS_RELEASE = f"{RELEASE}-crds"
WITHIN = "--timeout=120s"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
GONE_WITHIN_S = 60.0
MADE_BY_US = "app.kubernetes.io/part-of=superinfer"


@dataclass(frozen=True, slots=True)
class HelmRelease:
    """Both charts in one cluster, under one version of Helm."""

    cluster: Cluster
    helm: Helm

    @classmethod
    def of(cls, cluster: Cluster, program: Path) -> "HelmRelease":
        """Return the releases as an administrator of the cluster makes them."""
        return cls(cluster, Helm(program, cluster.control_plane.environment()))

    async def install(self, values: Mapping[str, Any] | None = None, chart: Path = CHART) -> None:
        """Install CRD and operator where only restricted pods are admitted, and wait for it."""
        await self.cluster.kubectl("create", "namespace", NAMESPACE)
        await self.cluster.kubectl("label", "namespace", NAMESPACE, RESTRICTED)
        await self._run("install", CRDS_RELEASE, CRDS_CHART)
        await self._run("install", RELEASE, chart, "--wait", WITHIN, values=values)

    async def upgrade(self, values: Mapping[str, Any] | None = None, chart: Path = CHART) -> None:
        """Upgrade both, as the docs say: the CRD first."""
        await self._run("upgrade", CRDS_RELEASE, CRDS_CHART)
        await self._run("upgrade", RELEASE, chart, "--wait", WITHIN, values=values)

    async def roll_back(self) -> None:
        """Go back to the revision before."""
        await self._run("rollback", RELEASE, "--wait", WITHIN)

    async def test(self) -> None:
        """Run `helm test`.

        Raises:
            HelmFailed: the operator is not what it should be.
        """
        await self._run("test", RELEASE, WITHIN)

    async def uninstall(self) -> list[str]:
        """Uninstall both, and the namespace; returns what is left, the kept CRD excepted."""
        await self._run("uninstall", RELEASE, "--wait", WITHIN)
        await self._run("uninstall", CRDS_RELEASE, "--wait", WITHIN)
        deadline_s = time.monotonic() + GONE_WITHIN_S
        # Helm waits for the Deployment; its pod has its own time to end.
        while (left := await self._left()) and time.monotonic() < deadline_s:
            await asyncio.sleep(1)
        await self.cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")
        return left

    async def revision(self) -> int:
        """The number of the operator's release in force."""
        told = await self._run("status", RELEASE, "--output", "json")
        return int(json.loads(told)["version"])

    async def _run(
        self,
        verb: str,
        release: str,
        *arguments: str | Path,
        values: Mapping[str, Any] | None = None,
    ) -> str:
        given = () if values is None else ("--values", "-")
        return await asyncio.to_thread(
            self.helm,
            *(verb, release, *arguments, "--namespace", NAMESPACE, *given),
            input=None if values is None else json.dumps(dict(values)),
        )

    async def _left(self) -> list[str]:
        """What carries our label anywhere, whatever its kind, and what Helm keeps in Secrets."""
        told = await self.cluster.kubectl("api-resources", "--verbs=list,delete", "--output=name")
        kinds = ",".join(kind for kind in told.split() if not kind.startswith("events"))
        ours = await self.cluster.kubectl(
            *("get", kinds, "--all-namespaces", "--selector", MADE_BY_US, "--output=name")
        )
        secrets = await self.cluster.kubectl("-n", NAMESPACE, "get", "secrets", "--output=name")
        return sorted({*ours.split(), *secrets.split()} - {kept_crd()})


def kept_crd() -> str:
    """The one thing that stays, as kubectl names it."""
    return f"customresourcedefinition.apiextensions.k8s.io/superinferservices.{GROUP}"
