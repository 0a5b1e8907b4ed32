"""`make audit`: the pinned stack's pins, hashes, closure, licences, and known vulnerabilities.

    python tools/audit/run.py --pip-audit .venv-audit/bin/pip-audit --output out/audit.json

Exit codes: 0 nothing found; 1 something was; 3 all that can be checked here is well, but nobody
could be asked about vulnerabilities.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from lock_file import licence, loose_ends, pins, read_overrides, unmet
from vulnerabilities import ServiceUnreachable, findings

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
NOT_ASKED = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pip-audit", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("out/audit.json"))
    options = parser.parse_args()
    locks = sorted(REQUIREMENTS.glob("*.lock"))
    problems = [f"{lock.name}: {said}" for lock in locks for said in loose_ends(lock.read_text())]
    installed = pins((REQUIREMENTS / "cpu.lock").read_text())
    overridden = read_overrides(REQUIREMENTS / "overrides.txt")
    problems += [f"cpu.lock: {said}" for said in unmet(installed, overridden)]
    licences = {name: licence(name) for name in installed}
    unreachable = ""
    try:
        for lock in locks:
            known = findings(options.pip_audit, lock)
            problems += [f"{lock.name}: {said}" for said in known]
    except ServiceUnreachable as error:
        unreachable = str(error)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    told = {"problems": problems, "licences": licences, "vulnerabilities_not_asked": unreachable}
    options.output.write_text(json.dumps(told, indent=2) + "\n")
    for count, name in sorted(((n, str(k)) for k, n in Counter(licences.values()).items()))[::-1]:
        print(f"{count:4} {name}")
    print(f"{len(locks)} lock files, {len(installed)} packages in cpu.lock; see {options.output}")
    for said in problems:
        print(f"found: {said}")
    if unreachable:
        print(f"NOT CHECKED: known vulnerabilities ({unreachable})", file=sys.stderr)
    return 1 if problems else NOT_ASKED if unreachable else 0


if __name__ == "__main__":
    sys.exit(main())
