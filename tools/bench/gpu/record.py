"""`make record-gpu`: bench and parity check of this machine's GPUs, and the record made of them.

python tools/bench/gpu/record.py [--merge-only]

Decoding is measured with the shape of Qwen2.5-32B, which takes a card of 141 GB.

The record holds, for each tier and segment size, the fastest way to copy beside the plain copy of
the same run; of the two parity runs (prefix cache off and on) the worse; and what decoding loses
to the way that calibration chose. Nothing is recorded of a run that failed, nor of two GPU models.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SEGMENT_BYTES = (2 << 20, 32 << 10)
BLOCK_TOKENS = 64
"""What `superinfer serve` takes on a GPU unless told otherwise."""
HOST, PEER, CHECKS = "bench-gpu-host.json", "bench-gpu-peer.json", "check-gpu.json"
BENCH = "tools/bench/gpu/run.py"
STEPS = {
    HOST: f"{BENCH} --parts links,decode --tier host --model 32b "
    f"--block-size {BLOCK_TOKENS} --output",
    PEER: f"{BENCH} --parts links --tier peer --output",
    CHECKS: "tests/gpu/gpu_checks.py --parts parity --json",
}
"""What makes each file; the file's name comes last."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="folder", type=Path, default=Path("out"))
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--merge-only", action="store_true", help="of files that are there already")
    options = parser.parse_args()
    if not options.merge_only:
        for name, step in STEPS.items():
            command = [sys.executable, *step.split(), str((options.folder / name).absolute())]
            if subprocess.run(command, cwd=ROOT).returncode:
                print(f"nothing recorded: python {step} {name} failed", file=sys.stderr)
                return 1
    try:
        host, peer, checks = (json.loads((options.folder / name).read_text()) for name in STEPS)
        record = recorded(host, peer, checks)
    except (OSError, KeyError, ValueError) as error:
        print(f"nothing recorded: {error!r}", file=sys.stderr)
        return 1
    file = options.to / f"duplexkv-{model_of(record['device'])}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {file}")
    return 0


def recorded(host: dict[str, Any], peer: dict[str, Any], checks: dict[str, Any]) -> dict[str, Any]:
    """Return the record of what the three `STEPS` wrote.

    Raises:
        ValueError: they are of different GPUs or tiers, or the parity check did not pass.
        KeyError: a part is missing.
    """
    if (host["tier"], peer["tier"]) != ("host", "peer"):
        raise ValueError(f"tiers {host['tier']} and {peer['tier']} instead of host and peer")
    if host["gpu"] != peer["gpu"]:
        raise ValueError(f"measured on {host['gpu']} and on {peer['gpu']}")
    if not checks["parity"]["passed"]:
        raise ValueError(f"parity: {checks['parity']['problems']}")
    return {
        "device": host["gpu"],
        "command": " && ".join(f"python {step} out/{name}" for name, step in STEPS.items()),
        "host": {str(size): duplex(host["links"], size) for size in SEGMENT_BYTES},
        "peer": {str(size): duplex(peer["links"], size) for size in SEGMENT_BYTES},
        "parity": parity(checks["parity"]),
        "decode_step_ratio_beside_duplex": decode_ratio(host["decode"]),
    }


def duplex(links: list[dict[str, Any]], segment_bytes: int) -> dict[str, float]:
    """GB/s in both directions at once: the fastest way, and the plain copy made first."""
    ways = [
        row["duplex_gb_s"]
        for row in links
        if row["way"] != "plain" and row["segment_bytes"] == segment_bytes
    ]
    plain = next((row["duplex_gb_s"] for row in links if row["way"] == "plain"), None)
    if not ways or plain is None:
        raise ValueError(f"segments of {segment_bytes} bytes or the plain copy were not measured")
    return {"duplex_gbps": max(ways), "contiguous_duplex_gbps": plain}


def parity(found: dict[str, Any]) -> dict[str, int]:
    runs = [found["rotating"], found["rotating-caching"]]
    return {
        "rotations": min(run["rotations_in"] for run in runs),
        "identical": min(run["identical"] for run in runs),
        "requests": found["requests"],
        "negative_control_identical": found["corrupting"]["identical"],
    }


def decode_ratio(rows: list[dict[str, Any]]) -> float:
    """Median step beside full-duplex rotation over the median alone, copied as in serving."""
    ratios: list[float] = [row["ratio"] for row in rows if row["is_chosen"]]
    if len(ratios) != 1:
        raise ValueError(f"the way that calibration chose was measured {len(ratios)} times")
    return ratios[0]


def model_of(device: str) -> str:
    """``NVIDIA H200`` -> ``h200``."""
    return device.removeprefix("NVIDIA ").split()[0].lower()


if __name__ == "__main__":
    sys.exit(main())
