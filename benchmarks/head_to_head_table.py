"""The table and the chart of a contest, from the file that head_to_head.py wrote.

python benchmarks/head_to_head_table.py benchmarks/results/head-to-head-h200.json --png out/h200.png
"""

import argparse
import json
import sys
from pathlib import Path

from contest.table import markdown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--png", type=Path, help="also draw it; needs matplotlib")
    options = parser.parse_args()
    result = json.loads(options.result.read_text())
    print(markdown(result), end="")
    if options.png and result["runs"]:
        from contest.figure import contest_figure
        from superinfer_runtime.sim.report.plots import png

        options.png.parent.mkdir(parents=True, exist_ok=True)
        options.png.write_bytes(png(contest_figure(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
