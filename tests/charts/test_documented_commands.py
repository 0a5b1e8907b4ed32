"""The commands of docs/operator.md, "Install by Helm", run as they stand there, one by one."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from helm import NAMESPACE, ROOT

pytestmark = pytest.mark.cluster

COMMAND_WITHIN_S = 120.0


def commands(section: str) -> Iterator[str]:
    """What follows the prompt in the console blocks of a section of docs/operator.md."""
    page = (ROOT / "docs" / "operator.md").read_text()
    (text,) = re.findall(rf"^## {section}\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        yield from re.findall(r"^\$ (.*)$", block, re.MULTILINE)


async def test_installing_by_helm(
    bare_cluster: Cluster, programs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "helm").symlink_to(programs["helm4"])
    environment = bare_cluster.control_plane.environment()
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    listed = list(commands("Install by Helm"))
    try:
        for command in listed:
            ran = await asyncio.to_thread(
                subprocess.run,
                ["sh", "-c", command],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=COMMAND_WITHIN_S,
            )
            assert ran.returncode == 0, f"{command}: {ran.stderr}"
    finally:
        await bare_cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")

    assert [command.split()[1] for command in listed if command.startswith("helm")] == [
        *("install", "install", "test", "upgrade", "upgrade", "rollback", "uninstall")
    ]
