"""All checks of KV rotation that need a GPU: parity, leaks, faults, resizes under load.

    python tests/gpu/gpu_checks.py [--parts parity,leaks] [--model-runner v1] [--tensor-parallel 2]

Each part runs in a process of its own, within a time limit. Exit status 0: all passed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PARTS = ("parity", "faults", "resize", "leaks")
LIMIT_S = 420.0
"""Beside the time that a part is asked to last; a first batch-invariant start compiles long."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--model-runner", choices=("v1", "v2"), default="v2")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--tier", choices=("host", "peer"), default="host")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long leaks churns")
    parser.add_argument("--json", type=Path, help="write the findings here")
    options = parser.parse_args()
    findings = {part: check(part, options) for part in options.parts.split(",")}
    for part, found in findings.items():
        problems = found.pop("problems")
        found["passed"] = not problems
        print(f"{part}: {'passed' if not problems else 'FAILED'} in {found['took_s']} s")
        for problem in problems:
            print(f"  {problem}")
        print(f"  {json.dumps(found)}")
        found["problems"] = problems
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        described = vars(options) | {"json": str(options.json)}
        options.json.write_text(json.dumps({"options": described, **findings}, indent=2) + "\n")
    return 0 if all(found["passed"] for found in findings.values()) else 1


def check(part: str, options: Any) -> dict[str, Any]:
    """Run one part; what went wrong is in ``problems``."""
    command = [sys.executable, "-m", "rotation.run", part]
    command += ["--tensor-parallel", str(options.tensor_parallel)]
    command += ["--tier", options.tier, "--seconds", str(options.seconds)]
    started_s = time.monotonic()
    try:
        run = subprocess.run(
            command,
            env=environment(options.model_runner),
            capture_output=True,
            text=True,
            timeout=LIMIT_S + (options.seconds if part == "leaks" else 0.0),
        )
        output, ended = run.stdout, f"ended with status {run.returncode}\n{run.stderr[-3000:]}"
    except subprocess.TimeoutExpired as late:
        output = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        error = late.stderr.decode() if isinstance(late.stderr, bytes) else late.stderr or ""
        ended = f"did not end in time\n{error[-3000:]}"
    results = [line for line in output.splitlines() if line.startswith("RESULT ")]
    found: dict[str, Any] = {"problems": [ended]}
    if results:
        found = json.loads(results[-1].removeprefix("RESULT "))
    found["took_s"] = round(time.monotonic() - started_s, 1)
    return found


def environment(model_runner: str) -> dict[str, str]:
    paths = [str(ROOT / name) for name in ("tests/testbed", "runtime", "contract")]
    chosen = {"VLLM_USE_V2_MODEL_RUNNER": "0"} if model_runner == "v1" else {}  # V2 is the default
    return {
        "OMP_NUM_THREADS": "1",  # on a busy CPU threads that wait for each other crawl
        **os.environ,
        **chosen,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


if __name__ == "__main__":
    sys.exit(main())
