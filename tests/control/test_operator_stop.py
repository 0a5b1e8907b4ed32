"""SIGTERM before the operator has begun: heard, though it is a container's first process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 30


def test_sigterm_is_heard_while_kopf_is_imported(tmp_path: Path) -> None:
    begun, key = tmp_path / "begun", tmp_path / "key"
    key.write_bytes(b"k" * 32)
    (tmp_path / "kopf").mkdir()
    (tmp_path / "kopf" / "__init__.py").write_text(
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep({SECONDS})"
    )
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "superinfer_operator", "run"),
            *("--signing-key", str(key), "--runtime-image", "runtime"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, said = process.communicate(timeout=SECONDS / 2)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGINT, "it ended by itself, as at Ctrl-C"
    assert "Traceback" not in said
