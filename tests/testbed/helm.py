"""Helm 3 and Helm 4, as the tests run them: each with a home of its own and no other settings."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from daemon_process import DaemonFailed

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "tools" / "controlplane" / "build-helm"
CHARTS = ROOT / "deploy" / "charts"
CRDS_CHART, CHART = CHARTS / "superinfer-crds", CHARTS / "superinfer"
PROGRAMS = ("helm3", "helm4")
RELEASE, NAMESPACE = "superinfer", "superinfer-system"
HELM_WITHIN_S = 300.0


class HelmFailed(AssertionError):
    """Helm refused; the message is its own."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One of the two, at work on the cluster of its environment, if that names one."""

    program: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, input: str | None = None) -> str:
        """Run Helm and return what it says.

        Raises:
            HelmFailed: it failed.
        """
        ran = subprocess.run(
            [self.program, *arguments],
            env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent", **self.environment},
            input=input,
            capture_output=True,
            text=True,
            timeout=HELM_WITHIN_S,
        )
        if ran.returncode:
            raise HelmFailed(f"{' '.join(map(str, arguments))}: {ran.stderr or ran.stdout}")
        return ran.stdout

    @property
    def version(self) -> str:
        return self("version", "--template", "{{.Version}}")

    def rendered(
        self, chart: Path = CHART, values: Mapping[str, Any] | None = None, *arguments: str
    ) -> str:
        """Return the chart's manifest with these values."""
        given = ("--namespace", NAMESPACE, "--values", "-", *arguments)
        return self("template", RELEASE, chart, *given, input=yaml.safe_dump(dict(values or {})))

    def objects(
        self, chart: Path = CHART, values: Mapping[str, Any] | None = None, *arguments: str
    ) -> list[dict[str, Any]]:
        """Return the chart's objects with these values."""
        return [
            each for each in yaml.safe_load_all(self.rendered(chart, values, *arguments)) if each
        ]


def helm_programs() -> dict[str, Path]:
    """Return both programs by name, building them if this machine has none.

    Raises:
        DaemonFailed: there are none; why is on standard error.
    """
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise DaemonFailed("there is no Helm; see above")
    return {name: Path(built.stdout.strip()) / name for name in PROGRAMS}
