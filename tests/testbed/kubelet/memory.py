"""How much memory containers use, and the limits they see.

cgroups may be out of reach, so use is counted from outside: the anonymous and shared memory of
every process in the container's PID namespace, shared pages split among those who map them. A file
cache costs nothing, as the kernel would drop it before it kills.
"""

import os
from collections.abc import Collection
from pathlib import Path

COUNTED = ("Pss_Anon:", "Pss_Shmem:")


def usage_bytes(pid_namespaces: Collection[int]) -> dict[int, int]:
    """Return the memory in use by PID namespace."""
    used = dict.fromkeys(pid_namespaces, 0)
    if not used:
        return used
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            namespace = os.stat(f"/proc/{entry}/ns/pid").st_ino
            if namespace in used:
                used[namespace] += _process_bytes(entry)
        except OSError:
            continue
    return used


def show_limit(folder: Path, limit_bytes: int | None, used_bytes: int) -> None:
    """Write what a container reads below ``/sys/fs/cgroup``, as cgroup version 2 and 1."""
    limit = "max" if limit_bytes is None else str(limit_bytes)
    unlimited = str(2**63 - 4096)
    files = {
        "memory.max": limit,
        "memory.current": str(used_bytes),
        "memory/memory.limit_in_bytes": unlimited if limit_bytes is None else limit,
        "memory/memory.usage_in_bytes": str(used_bytes),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that nobody ever reads an empty file.
        fresh = path.with_suffix(".new")
        fresh.write_text(text + "\n")
        fresh.rename(path)


def _process_bytes(pid: str) -> int:
    total_kib = 0
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith(COUNTED):
                total_kib += int(line.split()[1])
    return total_kib * 1024
