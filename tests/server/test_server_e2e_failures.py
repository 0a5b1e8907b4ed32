"""Starts that fail inside vLLM: one clear line, the documented exit code, nothing left running."""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from daemon_process import free_port
from serve_process import group, kill_group, wait_group_ends
from superinfer_contract import exit_codes
from superinfer_runtime.tiny_model import ensure_tiny_model

pytestmark = pytest.mark.e2e

SECONDS = 200
SMALL = ["--enforce-eager", "--max-model-len", "512", "--kv-cache-memory-bytes", "16777216"]


def command(*arguments: str) -> list[str]:
    port = str(free_port())
    return [sys.executable, "-m", "superinfer_runtime", "serve", "--port", port, *arguments]


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run to the end; the process group is empty afterwards."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=SECONDS)
        wait_group_ends(process.pid)
    finally:
        kill_group(process.pid)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def last_line(run: subprocess.CompletedProcess[str]) -> str:
    return str(run.stderr.strip().splitlines()[-1])


def test_an_engine_that_does_not_start_tells_its_cause(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ensure_tiny_model(), broken)
    rename_a_weight(broken / "model.safetensors")
    run = serve(str(broken), "--policy", "stock", "--", *SMALL)
    assert run.returncode == exit_codes.FAILURE
    assert last_line(run).startswith("error: the engine did not start: ValueError")
    assert "zzz_proj" in last_line(run)


def rename_a_weight(path: Path) -> None:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + size].replace(b"layers.1.mlp.up_proj", b"layers.1.mlp.zzz_proj")
    assert json.loads(header)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + size :])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--no-such-option"], exit_codes.USAGE, "unrecognized arguments: --no-such-option"),
        (["--scheduling-policy", "priority"], exit_codes.CONFIG, "--scheduling-policy cannot be"),
        (["--max-model-len", "999999"], exit_codes.CONFIG, "max_model_len (999999)"),
        (["--port", "1"], exit_codes.CONFIG, "before --"),
    ],
)
def test_what_vllm_refuses(arguments: list[str], code: int, says: str) -> None:
    run = serve("--", *arguments)
    assert run.returncode == code, run.stderr
    assert last_line(run).startswith("error: ")
    assert says in last_line(run)


def test_sigterm_while_loading_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("w") as file:
        process = subprocess.Popen(
            command("--policy", "stock"), stdout=file, stderr=file, start_new_session=True
        )
    try:
        for _ in range(SECONDS * 10):
            if len(group(process.pid)) > 2 or process.poll() is not None:
                break  # the engine's process is being started
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == exit_codes.FAILURE
        assert "stopped before it was ready" in out.read_text()
        wait_group_ends(process.pid)
    finally:
        kill_group(process.pid)
