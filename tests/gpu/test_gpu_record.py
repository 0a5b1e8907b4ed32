"""What `make record-gpu` makes of the bench's and the checks' files; no GPU is needed to merge."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "bench" / "gpu" / "record.py"


def links(plain: float, best: float) -> list[dict[str, Any]]:
    """Rows as `link_rates` returns them; the last plain copy is not the one to compare with."""
    return [
        {"way": "plain", "segment_bytes": 1 << 30, "duplex_gb_s": plain},
        {"way": "direct", "segment_bytes": 2 << 20, "duplex_gb_s": best},
        {"way": "staged", "segment_bytes": 2 << 20, "duplex_gb_s": best - 20},
        {"way": "direct", "segment_bytes": 32 << 10, "duplex_gb_s": best - 60},
        {"way": "staged", "segment_bytes": 32 << 10, "duplex_gb_s": best - 5},
        {"way": "plain", "segment_bytes": 1 << 30, "duplex_gb_s": plain + 1},
    ]


def parity_run(rotations: int, identical: int) -> dict[str, int]:
    return {"rotations_in": rotations, "identical": identical}


@pytest.fixture
def files() -> dict[str, Any]:
    decode = [
        {"way": "direct", "ratio": 1.03, "is_chosen": False},
        {"way": "staged", "ratio": 1.08, "is_chosen": True},
    ]
    parity = {
        "requests": 32,
        "rotating": parity_run(624, 32),
        "rotating-caching": parity_run(637, 31),
        "corrupting": parity_run(600, 2),
        "passed": True,
        "problems": [],
    }
    return {
        "bench-gpu-host.json": {
            "gpu": "NVIDIA H200",
            "tier": "host",
            "links": links(101.0, 99.0),
            "decode": decode,
        },
        "bench-gpu-peer.json": {"gpu": "NVIDIA H200", "tier": "peer", "links": links(766.0, 740.0)},
        "check-gpu.json": {"parity": parity},
    }


def merge(folder: Path, files: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    command = [sys.executable, str(SCRIPT), "--merge-only", "--from", str(folder)]
    return subprocess.run(
        [*command, "--to", str(folder / "results")], capture_output=True, text=True
    )


def test_the_record_has_the_agreed_shape(tmp_path: Path, files: dict[str, Any]) -> None:
    run = merge(tmp_path, files)
    assert run.returncode == 0, run.stderr
    record = json.loads((tmp_path / "results" / "duplexkv-h200.json").read_text())
    command = record.pop("command")
    assert all(f"out/{name}" in command for name in files)
    assert record == {
        "device": "NVIDIA H200",
        "host": {
            "2097152": {"duplex_gbps": 99.0, "contiguous_duplex_gbps": 101.0},
            "32768": {"duplex_gbps": 94.0, "contiguous_duplex_gbps": 101.0},
        },
        "peer": {
            "2097152": {"duplex_gbps": 740.0, "contiguous_duplex_gbps": 766.0},
            "32768": {"duplex_gbps": 735.0, "contiguous_duplex_gbps": 766.0},
        },
        "parity": {
            "rotations": 624,
            "identical": 31,
            "requests": 32,
            "negative_control_identical": 2,
        },
        "decode_step_ratio_beside_duplex": 1.08,
    }


def other_gpu(files: dict[str, Any]) -> None:
    files["bench-gpu-peer.json"]["gpu"] = "NVIDIA H100"


def other_tier(files: dict[str, Any]) -> None:
    files["bench-gpu-peer.json"]["tier"] = "host"


def parity_failed(files: dict[str, Any]) -> None:
    files["check-gpu.json"]["parity"] |= {"passed": False, "problems": ["31 of 32 identical"]}


def parity_crashed(files: dict[str, Any]) -> None:
    files["check-gpu.json"]["parity"] = {"passed": False, "problems": ["ended with status 1"]}


def no_small_segments(files: dict[str, Any]) -> None:
    rows = files["bench-gpu-host.json"]["links"]
    rows[:] = [row for row in rows if row["segment_bytes"] != 32 << 10]


def choice_not_measured(files: dict[str, Any]) -> None:
    files["bench-gpu-host.json"]["decode"][1]["is_chosen"] = False


def no_decode(files: dict[str, Any]) -> None:
    del files["bench-gpu-host.json"]["decode"]


def no_checks(files: dict[str, Any]) -> None:
    del files["check-gpu.json"]


@pytest.mark.parametrize(
    "spoil",
    [
        other_gpu,
        other_tier,
        parity_failed,
        parity_crashed,
        no_small_segments,
        choice_not_measured,
        no_decode,
        no_checks,
    ],
)
def test_nothing_is_recorded_of_what_is_not_whole(
    tmp_path: Path, files: dict[str, Any], spoil: Any
) -> None:
    spoil(files)
    run = merge(tmp_path, files)
    assert run.returncode == 1
    assert "nothing recorded" in run.stderr
    assert not (tmp_path / "results").exists()
