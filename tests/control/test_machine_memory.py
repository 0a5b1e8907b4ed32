"""The memory limit of made-up machines, laid out below a directory."""

from pathlib import Path

import pytest
from superinfer_contract.machine import memory_limit_bytes
from superinfer_contract.validation import ConfigError

GIB = 2**30
PHYSICAL = {"proc/meminfo": f"MemTotal:  {64 * GIB // 1024} kB\nMemFree: 1 kB\n"}
NO_LIMIT_V1 = "9223372036854771712\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limit_gib"),
    [
        pytest.param({}, 64, id="no cgroup"),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{8 * GIB}\n"},
            8,
            id="v2 in a container",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"},
            64,
            id="v2 no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/kube/pod/c\n",
                "sys/fs/cgroup/kube/pod/memory.max": f"{4 * GIB}",
                "sys/fs/cgroup/kube/pod/c/memory.max": "max",
            },
            4,
            id="v2 the parent's limit counts",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/../../elsewhere\n",
                "sys/fs/cgroup/memory.max": f"{2 * GIB}",
            },
            2,
            id="v2 a path outside the namespace",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:cpu:/\n4:cpuset,memory:/docker/a\n0::/\n",
                "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": f"{16 * GIB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
            },
            16,
            id="v1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/host/path\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}",
            },
            3,
            id="v1 in a container: only the root is mounted",
        ),
    ],
)
def test_the_smallest_limit_wins(tmp_path: Path, files: dict[str, str], limit_gib: int) -> None:
    assert memory_limit_bytes(lay_out(tmp_path, PHYSICAL | files)) == limit_gib * GIB


def test_a_machine_that_tells_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory cannot be read"):
        memory_limit_bytes(tmp_path)


def test_this_machine_has_memory() -> None:
    assert memory_limit_bytes() > 0
