"""Known vulnerabilities of the pinned stack, by pip-audit, and whether its service answers at all.

pip-audit passes over a package that its service does not know, and then ends well. So it is first
asked about a release that is known to be vulnerable: a service that has nothing to say about it
says nothing about ours.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CONTROL = "idna==2.0"
"""Vulnerable since 2024 (CVE-2024-3651)."""
TIMEOUT_S = 600


class ServiceUnreachable(Exception):
    """Nobody can be asked; the message says what was seen."""


def findings(pip_audit: Path, lock: Path) -> list[str]:
    """Return what is known of the packages in ``lock``, one line each.

    Raises:
        ServiceUnreachable: the service does not answer, or does not know its control.
    """
    with tempfile.TemporaryDirectory(prefix="superinfer-audit-") as folder:
        control = Path(folder) / "control.txt"
        control.write_text(CONTROL + "\n")
        if not _vulnerable(_ask(pip_audit, control)):
            raise ServiceUnreachable(f"the service knows nothing of {CONTROL}, which is vulnerable")
    answer = _ask(pip_audit, lock)
    passed_over = [each["name"] for each in answer if "skip_reason" in each]
    said = [f"{name}: not known to the service" for name in passed_over]
    return said + [
        f"{name} {version}: {', '.join(known)}" for name, version, known in _vulnerable(answer)
    ]


def _vulnerable(answer: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return [
        (each["name"], each["version"], [found["id"] for found in each["vulns"]])
        for each in answer
        if each.get("vulns")
    ]


def _ask(pip_audit: Path, requirements: Path) -> list[dict[str, Any]]:
    asked = [pip_audit, "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off"]
    try:
        done = subprocess.run(
            [*map(str, asked), "--requirement", str(requirements)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        dependencies: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired as error:
        raise ServiceUnreachable(f"no answer within {TIMEOUT_S} s") from error
    except (ValueError, KeyError) as error:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ServiceUnreachable(last) from error
    return dependencies
