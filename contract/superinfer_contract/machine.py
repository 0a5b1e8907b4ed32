"""How much memory this process may use: the machine's, or less where a cgroup says so.

In a container the physical memory is not the limit: pinned DRAM is charged to the cgroup and
cannot be reclaimed, so a budget beyond ``memory.max`` ends in an out-of-memory kill. Every level
of the cgroup tree counts, and the smallest limit wins. Files are read below ``root``, so a test
can lay out any machine in a directory.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from superinfer_contract.quantity import format_bytes
from superinfer_contract.validation import ConfigError


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Return the smallest of physical memory and the memory limits of this process's cgroups.

    Raises:
        ConfigError: neither the machine's memory nor a limit can be read below ``root``.
    """
    limits = [_total_bytes(_read(root / "proc/meminfo"))]
    for folder, file_name in _cgroup_files(_read(root / "proc/self/cgroup")):
        limits.append(_limit_bytes(_read(root / folder / file_name)))
    known = [limit for limit in limits if limit is not None]
    if not known:
        raise ConfigError(
            "the machine's memory cannot be read: /proc/meminfo and the cgroup's memory limit are "
            "missing; mount /proc"
        )
    return min(known)


def require_memory(what: str, asked_bytes: int, limit_bytes: int) -> None:
    """Check that ``asked_bytes`` of host memory are within ``limit_bytes``.

    Raises:
        ConfigError: they are not; the message names ``what`` asks, what there is, and the remedy.
    """
    if asked_bytes > limit_bytes:
        raise ConfigError(
            f"{what} asks for {format_bytes(asked_bytes)} of memory, but this machine (or its "
            f"cgroup) allows {format_bytes(limit_bytes)}; lower {what}, or raise the limit"
        )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _total_bytes(meminfo: str) -> int | None:
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024
    return None


def _limit_bytes(text: str) -> int | None:
    # cgroup v2 writes "max" for no limit; v1 a number beyond any machine, which min() passes over.
    text = text.strip()
    return int(text) if text.isdigit() else None


def _cgroup_files(self_cgroup: str) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield (folder, file name) of each limit, from the process's cgroup up to the mount's root.

    The root is always among them: inside a container the path in ``/proc/self/cgroup`` may be the
    host's, of which only the root is mounted.
    """
    for line in self_cgroup.splitlines():
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        if hierarchy == "0" and controllers == "":
            mount, file_name = PurePosixPath("sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            mount, file_name = PurePosixPath("sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        relative = PurePosixPath(path.lstrip("/"))
        if ".." in relative.parts:
            relative = PurePosixPath()
        for folder in (relative, *relative.parents):
            yield mount / folder, file_name
