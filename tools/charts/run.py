"""`make charts`: the charts' whole life on a real Kubernetes API server, on this machine.

By each version of Helm: lint, refuse wrong values, install where only restricted pods are admitted,
and serve one SuperInferService (vLLM on this CPU) through upgrade and rollback of the operator
under a steady load, then uninstall. Exit code 1 if a request failed or anything but the CRD is
left.
"""

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
from check import shown
from cluster import Cluster, holds
from daemon_process import DaemonFailed
from demo import NAME, START_TIMEOUT_S, TEAM, delete, say, service, watching
from helm import CHARTS, Helm, HelmFailed, helm_programs
from helm_release import HelmRelease
from monitored import prometheus_beside, under_load
from prometheus_process import programs as prometheus_programs
from rule_tests import alert_rules, shown_by_tests
from steady_load import REQUEST_TIMEOUT_S, SteadyLoad
from superinfer_runtime.demo.scenario import Scenario
from superinfer_runtime.tiny_model import ensure_tiny_model

WRONG_VALUES = {"replicas": 2}
UPGRADED = {"logLevel": "debug", "podAnnotations": {"example.com/upgraded": "yes"}}
LOAD_CONCURRENCY = 2
LOAD_PAUSE_S = 0.2
BESIDE_UPGRADES_S = 5.0
"""Load before, between and after, so that nothing is missed at the edges."""
PANELS_WITHIN_S = 90.0
ANSWER_POLL_S = 0.2
CONNECT_TIMEOUT_S = 2.0


@dataclass
class Result:
    """What `out/charts.json` holds."""

    helm_versions: list[str] = field(default_factory=list)
    kubernetes_version: str = ""
    install_to_first_answer_s: float = 0.0
    """The slower of both."""
    requests: int = 0
    failed_requests: int = 0
    leftovers: list[str] = field(default_factory=list)
    dashboard_panels: int = 0
    dashboard_panels_with_data: int = 0
    """Panels whose every query a Prometheus answered that scraped operator and runtime."""
    panels_without_data: list[str] = field(default_factory=list)
    alert_rules: int = 0
    alert_rules_tested: int = 0
    """Rules that promtool's tests, passed in this run, show firing."""

    def shortcomings(self) -> list[str]:
        """What the run was to show and did not."""
        claims = {
            "requests were answered during upgrade and rollback": self.requests > 0,
            "no request failed": not self.failed_requests,
            "nothing but the CRD is left": not self.leftovers,
            "every panel has data": 0 < self.dashboard_panels == self.dashboard_panels_with_data,
            "every alert is tested": 0 < self.alert_rules == self.alert_rules_tested,
        }
        return [claim for claim, holds_true in claims.items() if not holds_true]


def check_without_a_cluster(helm: Helm) -> None:
    """Raises: HelmFailed: lint finds something. AssertionError: a wrong value is taken."""
    for chart in sorted(CHARTS.iterdir()):
        helm("lint", "--strict", chart)
    try:
        helm.rendered(values=WRONG_VALUES)
    except HelmFailed:
        return
    raise AssertionError(f"the schema takes {WRONG_VALUES}")


async def story(release: HelmRelease, model: Path, result: Result) -> None:
    """Install, serve, upgrade, roll back, uninstall."""
    cluster, scenario = release.cluster, Scenario()
    say(f"Helm {release.helm.version}: installing")
    await cluster.kubectl("create", "namespace", TEAM)
    started_s = time.monotonic()
    await release.install()
    await cluster.apply(service(model, scenario))
    say("operator ready, service applied; vLLM loads the model in its pod")
    async with watching(cluster):
        url = await first_answer(cluster)
        taken_s = round(time.monotonic() - started_s, 1)
        say(f"first answer {taken_s} s after `helm install`")
        result.install_to_first_answer_s = max(result.install_to_first_answer_s, taken_s)
        await release.test()
        await cluster.until(TEAM, "sis", NAME, holds("Ready", "TelemetryAvailable"))
        if not result.dashboard_panels:
            await look_at_dashboards(cluster, url, scenario, result)
        async with SteadyLoad.on(url, LOAD_CONCURRENCY, LOAD_PAUSE_S) as load:
            await asyncio.sleep(BESIDE_UPGRADES_S)
            say("helm upgrade, under load")
            await release.upgrade(UPGRADED)
            await asyncio.sleep(BESIDE_UPGRADES_S)
            say("helm rollback, under load")
            await release.roll_back()
            await asyncio.sleep(BESIDE_UPGRADES_S)
        result.requests += load.answered + len(load.failures)
        result.failed_requests += len(load.failures)
        say(f"{load.answered} requests answered meanwhile, {len(load.failures)} failed")
    result.leftovers += await delete(cluster)
    say("helm uninstall")
    result.leftovers += await release.uninstall()
    await cluster.kubectl("delete", "namespace", TEAM, "--timeout=60s")


async def look_at_dashboards(
    cluster: Cluster, url: str, scenario: Scenario, result: Result
) -> None:
    """Put every query of every panel to a Prometheus, under a load that rotates."""
    say("Prometheus scrapes operator and runtime, under load")
    with tempfile.TemporaryDirectory(prefix="superinfer-prometheus-") as folder:
        async with (
            prometheus_beside(cluster, Path(folder), TEAM, NAME) as prometheus,
            under_load(url, scenario),
        ):
            found = await shown(prometheus, PANELS_WITHIN_S)
    result.dashboard_panels = found.panels
    result.dashboard_panels_with_data = found.panels_with_data
    result.panels_without_data = list(found.empty)
    say(f"{found.panels_with_data} of {found.panels} panels have data")


def promtool_tests(result: Result) -> None:
    """Run promtool's tests of the alert rules.

    Raises:
        AssertionError: one fails.
    """
    tested = shown_by_tests()
    ran = subprocess.run(
        [prometheus_programs() / "promtool", "test", "rules", *tested.files],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise AssertionError(ran.stdout + ran.stderr)
    result.alert_rules, result.alert_rules_tested = len(alert_rules()), tested.rules


async def first_answer(cluster: Cluster) -> str:
    """Wait until a completion is answered; returns the service's URL.

    Raises:
        TimeoutError: none was within `START_TIMEOUT_S`.
    """
    # An engine's first answer takes its time; that nobody listens is known at once.
    timeout = httpx.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with (
        asyncio.timeout(START_TIMEOUT_S),
        httpx.AsyncClient(trust_env=False, timeout=timeout) as client,
    ):
        await cluster.until(TEAM, "service", NAME, bool)
        url = await cluster.address(TEAM, NAME)
        while True:
            try:
                answer = await client.post(f"{url}/v1/completions", json={"prompt": "a"})
                if answer.is_success:
                    return url
            except httpx.HTTPError:
                pass  # nobody listens yet
            await asyncio.sleep(ANSWER_POLL_S)


async def run(output: Path) -> int:
    result = Result()
    model = ensure_tiny_model(num_layers=Scenario().num_layers)
    programs = helm_programs()
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="superinfer-charts-") as folder:
        async with Cluster.start(Path(folder)) as cluster:
            result.kubernetes_version = cluster.control_plane.version
            try:
                promtool_tests(result)
                for program in programs.values():
                    release = HelmRelease.of(cluster, program)
                    check_without_a_cluster(release.helm)
                    result.helm_versions.append(release.helm.version)
                    await story(release, model, result)
            except (AssertionError, TimeoutError) as error:
                print(f"error: {error!r}\n{cluster.logs(TEAM)}", file=sys.stderr)
                return 1
            finally:
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps(asdict(result), indent=2) + "\n")
    print(json.dumps(asdict(result), indent=2))
    minutes, seconds = divmod(int(time.monotonic() - started_s), 60)
    say(f"written to {output}; {minutes} min {seconds} s")
    for shortcoming in result.shortcomings():
        print(f"not shown: {shortcoming}")
    return 1 if result.shortcomings() else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/charts.json"))
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return asyncio.run(run(options.output))
    except DaemonFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
