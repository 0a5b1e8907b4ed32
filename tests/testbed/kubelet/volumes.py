"""A pod's volumes as folders of the machine, and where its containers mount them."""

import os
from pathlib import Path

from kubelet import atomic_folder
from kubelet.api import Object
from kubelet.downward import Facts
from kubelet.expansion import expand
from kubelet.process import Mount
from kubelet.projection import is_projected, project
from kubelet.quantity import in_units
from kubelet.sandbox import Sandbox
from kubelet.sources import Missing, Sources


class Volumes:
    """The volumes of one pod below ``folder``."""

    def __init__(self, folder: Path, pod: Object) -> None:
        self._folder = folder
        self._volumes: dict[str, Object] = {
            each["name"]: each for each in pod["spec"].get("volumes", ())
        }

    async def create(self, sandbox: Sandbox, facts: Facts, sources: Sources) -> None:
        """Make every volume.

        Raises:
            Missing: an object, key or path is not there, or the kind of volume is unknown.
        """
        self.refresh(facts, sources)
        for name, volume in self._volumes.items():
            if "emptyDir" in volume:
                await self._create_empty(name, volume["emptyDir"], sandbox)
            elif "hostPath" in volume:
                _require_host_path(volume["hostPath"])
            elif not is_projected(volume):
                kinds = sorted(volume.keys() - {"name"})
                raise Missing(f"the process kubelet does not know volumes of kind {kinds}")

    def refresh(self, facts: Facts, sources: Sources) -> None:
        """Bring the volumes up to date whose files come from the API server."""
        for name, volume in self._volumes.items():
            if is_projected(volume):
                atomic_folder.write(self._folder / name, project(volume, facts, sources))

    def mounts(self, container: Object, environment: dict[str, str]) -> list[Mount]:
        """Return the container's mounts, outer paths before those inside them."""
        mounts = []
        for each in container.get("volumeMounts", ()):
            volume = self._volumes[each["name"]]
            source = self._source(volume)
            sub = each.get("subPath") or expand(each.get("subPathExpr", ""), environment)
            if sub:
                source = source / sub
                if not source.exists():
                    source.mkdir(parents=True)
            # Links are followed here, on the machine: below the container's root they lead astray.
            path = os.path.realpath(source)
            read_only = each.get("readOnly", False) or is_projected(volume)
            mounts.append(Mount(path, os.path.normpath(each["mountPath"]), read_only))
        return sorted(mounts, key=lambda mount: mount.target.count("/"))

    def _source(self, volume: Object) -> Path:
        if "hostPath" in volume:
            return Path(volume["hostPath"]["path"])
        return self._folder / str(volume["name"])

    async def _create_empty(self, name: str, volume: Object, sandbox: Sandbox) -> None:
        folder = self._folder / name
        if folder.exists():
            return
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        if volume.get("medium") == "Memory":
            limit = volume.get("sizeLimit")
            await sandbox.mount_memory(folder, None if limit is None else in_units(limit))


def _require_host_path(volume: Object) -> None:
    path, kind = Path(volume["path"]), volume.get("type", "")
    if path.exists():
        return
    if kind in ("", "DirectoryOrCreate"):
        path.mkdir(parents=True)
    elif kind == "FileOrCreate":
        path.touch()
    else:
        raise Missing(f"hostPath type check failed: {path} is not there ({kind})")
