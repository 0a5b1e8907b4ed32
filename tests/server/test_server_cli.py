"""The command line by subprocess: what fails before vLLM is imported, fast and in clear words."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from daemon_process import free_port
from slow_import import terminated_while_importing
from superinfer_contract import exit_codes

SECONDS = 30


def superinfer(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "superinfer_runtime", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **environment},
        check=False,
    )


def refused(run: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stderr.strip().splitlines()
    assert all(line.startswith("error: ") for line in lines), run.stderr
    for text in says:
        assert text in run.stderr


def config(tmp_path: Path, data: object) -> str:
    path = tmp_path / "runtime.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def test_help_names_the_commands() -> None:
    run = superinfer("--help")
    assert run.returncode == exit_codes.OK
    assert "serve" in run.stdout
    assert "bench" in run.stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--port", "0"], ["serve", "--what"]])
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert superinfer(*arguments).returncode == exit_codes.USAGE


def test_importing_the_command_line_imports_no_vllm() -> None:
    code = (
        "import sys\n"
        "import superinfer_runtime.cli, superinfer_runtime.server.command\n"
        "import superinfer_runtime.bench.command\n"
        "print([name for name in ('vllm', 'torch', 'transformers') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert run.stdout.strip() == "[]"


TIERS: list[tuple[Any, tuple[str, ...]]] = [
    ("{", ("not valid JSON", "runtime.json:1:2")),
    ([], ("must be a mapping",)),
    ({"kv_cache": {"dram": {"min": "8Mi", "max": "4Mi"}}}, ("kv_cache.dram", "must not exceed")),
    ({"modle": "x"}, ("modle",)),
    ({"slo_classes": []}, ("slo_classes",)),
    ({"kv_cache": {"dram": {"max": "4096Ti"}}}, ("kv_cache.dram.max", "4096Ti")),
    ({"model": "/none"}, ("/none does not exist",)),
    ({"server": {"admin_token_file": "/none"}}, ("server.admin_token_file",)),
    ({"engine_args": {"port": 1}}, ("engine_args.port", "server.port")),
]


@pytest.mark.parametrize(("data", "says"), TIERS)
def test_a_refused_configuration(tmp_path: Path, data: Any, says: tuple[str, ...]) -> None:
    refused(superinfer("serve", "--config", config(tmp_path, data)), exit_codes.CONFIG, *says)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    refused(superinfer("serve", "--config", str(tmp_path / "none.json")), exit_codes.CONFIG, "none")


def test_offline_there_is_no_looking_up() -> None:
    run = superinfer("serve", "nobody/nothing", HF_HUB_OFFLINE="1")
    refused(run, exit_codes.CONFIG, "nobody/nothing", "HF_HUB_OFFLINE")


def test_a_taken_port_is_told_before_the_model_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = superinfer("serve", "--port", port, XDG_CACHE_HOME=str(tmp_path))
    refused(run, exit_codes.FAILURE, f"port {port} on 127.0.0.1 is in use")
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "superinfer").write_text("in the way")
    port = str(free_port())
    run = superinfer("serve", "--port", port, XDG_CACHE_HOME=str(tmp_path))
    refused(run, exit_codes.CONFIG, "XDG_CACHE_HOME")


def test_sigterm_is_heard_while_vllm_is_imported(tmp_path: Path) -> None:
    port = str(free_port())
    found = terminated_while_importing(
        "vllm", tmp_path, "superinfer_runtime", "serve", "--port", port
    )
    assert found == (exit_codes.FAILURE, "error: stopped before it was ready\n")


def test_another_vllm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text('__version__ = "0.33.0"')
    port = str(free_port())
    run = superinfer("serve", "--port", port, PYTHONPATH=str(tmp_path))
    refused(run, exit_codes.CONFIG, "0.26.0", "0.33.0 is installed")
