"""A program that is sent SIGTERM while it imports a package, which takes as long as it likes."""

import os
import subprocess
import sys
import time
from pathlib import Path

WITHIN_S = 15.0
IMPORT_S = 60
POLL_S = 0.05


def terminated_while_importing(package: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run ``python -m`` ``arguments``; return its exit code and what it said on stderr.

    Raises:
        TimeoutExpired: it does not hear the signal.
    """
    begun = folder / "begun"
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep({IMPORT_S})"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(POLL_S)
        process.terminate()
        _, said = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
    return process.returncode, said
