"""`make bench-limits`: 10,000 series at the operator, 1,000 clients at a runtime.

PYTHONPATH=tests/testbed python tools/bench/limits.py --output out/bench-limits.json
"""

import argparse
import json
from pathlib import Path

import http_clients
import otlp_series
from rich.console import Console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("out/bench-limits.json"))
    output: Path = parser.parse_args().output
    log = Console(stderr=True)
    log.print("10,000 telemetry series ...")
    result = {"otlp": otlp_series.measure()}
    log.print("1,000 clients at once ...")
    result["http"] = http_clients.measure()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n")
    Console().print_json(data=result)


if __name__ == "__main__":
    main()
