"""SIGTERM before the operator has begun: heard, though it is a container's first process."""

import signal
from pathlib import Path

from slow_import import terminated_while_importing


def test_sigterm_is_heard_while_kopf_is_imported(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    arguments = ("run", "--signing-key", str(key), "--runtime-image", "runtime")
    code, said = terminated_while_importing("kopf", tmp_path, "superinfer_operator", *arguments)
    assert code == 128 + signal.SIGINT, "it ended by itself, as at Ctrl-C"
    assert "Traceback" not in said
