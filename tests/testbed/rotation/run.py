"""Runs one check in this process and prints its findings: ``RESULT`` and one line of JSON.

python -m rotation.run PART [--tensor-parallel N] [--tier host|peer] [--seconds S]
"""

import argparse
import json
import sys

PARTS = ("parity", "leaks", "faults", "resize")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--tier", choices=("host", "peer"), default="host")
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()

    from rotation import rig

    rig.configure(batch_invariant=options.part in ("parity", "resize"))
    from rotation.churn import leaks
    from rotation.faults import faults
    from rotation.parity import parity
    from rotation.resize import resize

    check = {"parity": parity, "leaks": leaks, "faults": faults, "resize": resize}[options.part]
    found = check(rig.platform(options.tensor_parallel), options.tier, options.seconds)
    print("RESULT " + json.dumps(found), flush=True)
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
