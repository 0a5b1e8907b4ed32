"""Every panel of every dashboard, asked of a real Prometheus that scrapes the real processes.

The operator in a cluster, vLLM on the CPU under a load that rotates: what is exposed, what the
contract names and what rules and dashboards ask for must be the same names.
"""

from collections.abc import Iterable
from pathlib import Path

import pytest
from check import shown
from cluster import Cluster, holds
from demo import NAME, START_TIMEOUT_S, TEAM, service
from monitored import QUICK, prometheus_beside, under_load
from superinfer_contract import metrics
from superinfer_contract.prometheus import Named, series
from superinfer_operator.self_telemetry import instruments
from superinfer_runtime.tiny_model import ensure_tiny_model

# Longer than the slowest start of vLLM that is waited for.
pytestmark = [pytest.mark.cluster, pytest.mark.e2e, pytest.mark.timeout(600)]

WITHIN_S = 90.0
ANSWERED = "max_over_time(up[30s])"
"""Whether each answers: on a busy machine single scrapes of a second run out of time."""
NOT_ALWAYS = {metrics.LINK_CROSSOVER, metrics.SLO_MAX_LAG}
"""The copy engine of CPUs has one way to copy; and nobody may be late while Prometheus looks."""


async def test_every_panel_has_data(tmp_path: Path) -> None:
    model = ensure_tiny_model(num_layers=QUICK.num_layers)
    async with Cluster.start(tmp_path) as cluster:
        await cluster.install_operator()
        await cluster.kubectl("create", "namespace", TEAM)
        await cluster.apply(service(model, QUICK))
        await cluster.until(TEAM, "sis", NAME, holds("Ready", "Servable"), START_TIMEOUT_S)
        url = await cluster.address(TEAM, NAME)
        folder = tmp_path / "prometheus"
        async with (
            prometheus_beside(cluster, folder, TEAM, NAME) as prometheus,
            under_load(url, QUICK),
        ):
            result = await shown(prometheus, WITHIN_S)
            assert result.empty == ()
            assert {line.points[0][1] for line in await prometheus.query(ANSWERED)} == {1.0}
            rules = await prometheus.rules()
            assert {rule["health"] for rule in rules} == {"ok"}, rules
            (rotated,) = await prometheus.query("sum(superinfer_kv_rotations_total)")
            assert rotated.points[0][1] > 0
            exposed = await prometheus.names()
    ours = {name for name in exposed if name.startswith(("superinfer_", "gen_ai_"))}
    assert ours <= names((*metrics.ALL, *instruments.ALL))
    assert ours >= names((*(set(metrics.ALL) - NOT_ALWAYS), *instruments.ALL))


def names(told: Iterable[Named]) -> set[str]:
    return {name for metric in told for name in series(metric)}
