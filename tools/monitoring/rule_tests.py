"""Which alert rules promtool's tests show firing, and silent: read from the files it runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_process import ROOT, RULES

TESTS = ROOT / "tests" / "monitoring"


@dataclass(frozen=True, slots=True)
class Tested:
    """Names of alerts, and how many rules of these names are shown firing."""

    fires: frozenset[str]
    silent: frozenset[str]
    rules: int
    files: tuple[Path, ...]


def alert_rules() -> list[dict[str, Any]]:
    """Every alerting rule."""
    return [rule for rule in _rules() if "alert" in rule]


def alerts() -> frozenset[str]:
    """The names of all alerts; several rules may share one."""
    return frozenset(rule["alert"] for rule in alert_rules())


def recorded() -> frozenset[str]:
    """The names of all recorded series."""
    return frozenset(rule["record"] for rule in _rules() if "record" in rule)


def shown_by_tests() -> Tested:
    """Return what the tests show."""
    cases = list(_cases())
    fired = {
        (case["alertname"], alert["exp_labels"].get("burn_rate"))
        for case in cases
        for alert in case["exp_alerts"]
    }
    return Tested(
        frozenset(name for name, _ in fired),
        frozenset(case["alertname"] for case in cases if not case["exp_alerts"]),
        sum(_key(rule) in fired for rule in alert_rules()),
        tuple(_files()),
    )


def _key(rule: dict[str, Any]) -> tuple[str, str | None]:
    """Rules of one name differ in their burn rate."""
    return rule["alert"], rule["labels"].get("burn_rate")


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _cases() -> Iterator[dict[str, Any]]:
    for file in _files():
        for test in yaml.safe_load(file.read_text())["tests"]:
            yield from test.get("alert_rule_test", ())


def _files() -> list[Path]:
    return sorted(TESTS.glob("*.test.yaml"))
