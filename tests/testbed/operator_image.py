"""The operator's image as `tools/images/build` made it, and its programs run as a pod runs them.

As the image's user, on a read-only root filesystem with an empty /tmp, in a mount namespace of
its own that takes all mounts away with it.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILD = Path(__file__).resolve().parents[2] / "tools" / "images" / "build"
WITHIN_S = 60.0
IN_IMAGE = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
shift
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class OperatorImage:
    """One image, unpacked."""

    root: Path
    config: dict[str, Any]

    @classmethod
    def built(cls) -> "OperatorImage":
        """Return the image of this checkout, building it if there is none yet."""
        command = [sys.executable, str(BUILD)]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        folder = Path(ran.stdout.strip())
        return cls(folder / "rootfs", json.loads((folder / "config.json").read_text()))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", IN_IMAGE, "sh", self.root),
                *("chroot", f"--userspec={self.config['User']}", "--groups=", self.root),
                *("env", "--ignore-environment", *self.config["Env"], *command),
            ],
            env={"PATH": os.environ["PATH"]},  # no LD_PRELOAD, which vLLM sets for its workers
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )

    @property
    def size_bytes(self) -> int:
        """All files once, however many names they have."""
        found = (each.lstat() for each in self.root.rglob("*"))
        return sum({each.st_ino: each.st_size for each in found}.values())
