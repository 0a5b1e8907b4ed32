"""The alerts by promtool, and that each is tested, explained and made of metrics that exist."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from dashboards.__main__ import texts
from dashboards.written import FOLDER, panels
from prometheus_process import ROOT, RULES, programs
from rule_tests import alert_rules, alerts, recorded, shown_by_tests
from superinfer_contract import metrics
from superinfer_contract.prometheus import label, series
from superinfer_operator.self_telemetry import instruments

OURS = re.compile(r"\b(?:superinfer|gen_ai)[a-z0-9_:]+")
HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]


def known() -> set[str]:
    """All names that an expression may use."""
    lists = (*metrics.ALL, *instruments.ALL)
    labels = {label(attribute) for attribute in metrics.Attribute}
    return {name for metric in lists for name in series(metric)} | labels | recorded()


def promtool(*arguments: Any) -> None:
    ran = subprocess.run(
        [programs() / "promtool", *arguments], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", RULES)


@pytest.mark.parametrize("file", shown_by_tests().files, ids=lambda file: file.name)
def test_alerts_fire_when_they_should_and_only_then(file: Any) -> None:
    promtool("test", "rules", file)


def test_every_alert_is_seen_firing_and_silent() -> None:
    seen = shown_by_tests()
    assert len(alert_rules()) > len(alerts()) > 0
    assert seen.fires == alerts()
    assert seen.silent == alerts()
    assert seen.rules == len(alert_rules())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_has_a_runbook(name: str) -> None:
    (url,) = {rule["annotations"]["runbook_url"] for rule in alert_rules() if rule["alert"] == name}
    page = (ROOT / url).read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    for asked in re.findall(r"```promql\n(.*?)```", page, re.DOTALL):
        assert set(OURS.findall(asked)) <= known()


def test_there_is_no_runbook_of_an_alert_that_is_not() -> None:
    assert {file.stem for file in (ROOT / "docs" / "runbooks").glob("*.md")} == alerts()


def test_rules_use_metrics_that_exist() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert set(OURS.findall(rule["expr"])) - known() == set()


def test_dashboards_use_metrics_that_exist() -> None:
    used = {
        name for panel in panels("1m") for ask in panel.asked for name in OURS.findall(ask.expr)
    }
    assert used - known() == set()


def test_dashboards_are_what_the_builder_makes() -> None:
    written = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    assert written == texts(), "run PYTHONPATH=tools/monitoring python -m dashboards"


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in panels("1m"):
        assert panel.raw["description"], panel.title
        assert panel.raw["fieldConfig"]["defaults"]["unit"], panel.title
        assert panel.raw["datasource"]["uid"] == "${datasource}", panel.title
        assert all(ask.expr for ask in panel.asked), panel.title
