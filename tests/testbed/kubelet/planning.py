"""From a container's manifest to the plan of one run: command, variables, mounts, user."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kubelet.api import ApiError, Object, Unreachable
from kubelet.container import NotYet
from kubelet.downward import Facts
from kubelet.environment import environment
from kubelet.expansion import expand
from kubelet.fetch import Fetcher
from kubelet.host import Host
from kubelet.process import Mount, Plan, User
from kubelet.sources import Missing
from kubelet.volumes import Volumes

IMAGE = (str(Path(__file__).resolve().parents[3]), sys.prefix)
"""Where this project and its Python lie on the machine that plays the image."""


def _image_below(volumes: Sequence[Mount]) -> list[Mount]:
    """Show the image's folders again that a volume covers, such as a checkout below /tmp."""
    return [
        Mount(folder, folder, True)
        for folder in IMAGE
        if any(Path(folder).is_relative_to(volume.target) for volume in volumes)
    ]


class Planner:
    """Plans the runs of one pod's containers."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        facts: Callable[[], Facts],
        fetcher: Fetcher,
        volumes: Volumes,
    ) -> None:
        self._host = host
        self._folder = folder
        self._facts = facts
        self._fetcher = fetcher
        self._volumes = volumes

    async def plan(self, container: Object, message_file: Path) -> Plan:
        """Return the plan of the container's next run.

        Raises:
            NotYet: something it needs is not there; the reason is as a kubelet gives it.
        """
        facts = self._facts()
        variables = await self._variables(container, facts)
        context = container.get("securityContext", {})
        folder = message_file.parent
        last_words = container.get("terminationMessagePath", "/dev/termination-log")
        own = [
            Mount(str(self._folder / "hosts"), "/etc/hosts", False),
            Mount(str(self._folder / "resolv.conf"), "/etc/resolv.conf", False),
            Mount(str(message_file), last_words, False),
        ]
        volumes = self._volumes.mounts(container, variables)
        return Plan(
            command=[expand(word, variables) for word in self._command(container)],
            environment=variables,
            working_dir=container.get("workingDir", "/"),
            mounts=[*volumes, *_image_below(volumes), *own],
            root=str(folder / "root"),
            cgroup=str(folder / "cgroup"),
            kubelet_folder=str(self._host.folder),
            read_only_root=context.get("readOnlyRootFilesystem", False),
            user=None if self._host.settings.ignore_user else _user(facts.pod["spec"], context),
        )

    async def _variables(self, container: Object, facts: Facts) -> dict[str, str]:
        image = container.get("image", "")
        if image in self._host.settings.missing_images:
            raise NotYet("ImagePullBackOff", f'Back-off pulling image "{image}"')
        try:
            return environment(
                self._host.settings.environment,
                self._host.services.items,
                container,
                facts,
                await self._fetcher.sources(),
            )
        except (Missing, ApiError, Unreachable, ValueError) as error:
            raise NotYet("CreateContainerConfigError", str(error)) from error

    def _command(self, container: Object) -> list[str]:
        image = container.get("image", "")
        first = container.get("command") or self._host.settings.entrypoints.get(image)
        if not first:
            message = f'no command: image "{image}" has no entrypoint known to the kubelet'
            raise NotYet("CreateContainerError", message)
        return [*first, *container.get("args", ())]


def _user(pod: Object, context: Object) -> User | None:
    shared = pod.get("securityContext", {})
    uid = context.get("runAsUser", shared.get("runAsUser"))
    if uid is None:
        return None
    groups = [*shared.get("supplementalGroups", ()), *filter(None, [shared.get("fsGroup")])]
    return User(uid, context.get("runAsGroup", shared.get("runAsGroup", 0)), tuple(groups))
