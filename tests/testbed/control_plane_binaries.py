"""Where the control plane's programs are."""

import subprocess
from pathlib import Path

from daemon_process import DaemonFailed

BUILD = Path(__file__).resolve().parents[2] / "tools" / "controlplane" / "build"


def binaries() -> Path:
    """Return the folder of the binaries, building them if this machine has none.

    Raises:
        DaemonFailed: there are none; why is on standard error.
    """
    built = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise DaemonFailed("there are no binaries of the control plane; see above")
    return Path(built.stdout.strip())
