"""The operator's connection to a runtime: certificates and tokens that are right, and wrong ones.

Real certificates, real HTTPS; the pod is at an address, its certificate is for the service's name.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from certificates import Authority, KeyPair
from mounted_file import replace
from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import ConfigError
from superinfer_operator.conditions import ConditionType
from superinfer_operator.control import Controller
from superinfer_operator.kube.client import Kube
from superinfer_operator.replica import Replica
from superinfer_operator.runtimes import Runtimes
from superinfer_operator.service_health import conditions
from superinfer_operator.signing import SigningKeys
from superinfer_operator.telemetry.points import Source
from superinfer_operator.telemetry.windows import Windows
from superinfer_operator.transitions import Condition
from superinfer_operator.trust import Authorities

HOST = "chat.team.svc"
EXPIRED = -timedelta(seconds=1)
Served = Callable[[KeyPair | None], AbstractAsyncContextManager[int]]


class OneToken(SigningKeys):
    """Stands where the signing keys do: the runtime under test knows this token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def admin_tokens(self, namespace: str, name: str) -> list[str]:
        return [self._token]


def sis(port: int, tls: bool = True) -> SuperInferService:
    server: dict[str, Any] = {"port": port}
    if tls:
        server["tls"] = {"secretName": "chat-tls"}
    return SuperInferService.model_validate(
        {
            "apiVersion": "superinfer.dev/v1alpha1",
            "kind": "SuperInferService",
            "metadata": {"name": "chat", "namespace": "team"},
            "spec": {"server": server, "kvCache": {"slab": "1Mi"}},
        }
    )


class Operator:
    """What the operator knows of one service whose only pod is on the loopback."""

    def __init__(self, service: SuperInferService, ca_file: Path | None, token: str) -> None:
        self.trust = Authorities(ca_file)
        self.service = service
        # A pod is never resized here, so nothing asks for the Kubernetes client.
        self.runtimes = Runtimes("team", "chat", cast(Kube, None), OneToken(token), self.trust)
        windows = Windows(window_s=30, stale_s=17)
        self.controller = Controller(
            service,
            lambda pod, now_s: windows.snapshot(Source("chat", pod), now_s),
            time.monotonic,
        )

    async def replicas(self) -> list[Replica]:
        ready = [{"type": "Ready", "status": "True"}]
        pod = {
            "metadata": {"name": "chat-0"},
            "status": {"podIP": "127.0.0.1", "phase": "Running", "conditions": ready},
        }
        return await self.runtimes.replicas(self.service, {"chat-0": pod})

    async def resized(self) -> Condition:
        """The condition KVBudgetResized after a turn."""
        turn = await self.controller.turn(await self.replicas())
        found = {each.type: each for each in conditions(self.service.spec, turn)}
        return found[ConditionType.KV_BUDGET_RESIZED]


@asynccontextmanager
async def operator(
    service: SuperInferService, ca_file: Path | None, token: str = "admin"
) -> AsyncIterator[Operator]:
    found = Operator(service, ca_file, token)
    try:
        yield found
    finally:
        await found.runtimes.close()


async def test_a_trusted_certificate_and_the_token_are_all_it_takes(
    served: Served, ours: Authority
) -> None:
    async with (
        served(ours.server("tls", [HOST], [])) as port,
        operator(sis(port), ours.file) as found,
    ):
        assert (await found.resized()).status is True
        (replica,) = await found.replicas()
        assert await replica.runtime.is_ready()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("foreign authority", "certificate"),
        ("no authority", "certificate"),
        ("expired", "certificate has expired"),
        ("other host", "Hostname mismatch"),
    ],
)
async def test_another_certificate_is_refused_and_the_status_says_why(
    served: Served, ours: Authority, foreign: Authority, fault: str, said: str
) -> None:
    ca_file: Path | None = ours.file
    pair = ours.server("tls", [HOST], [])
    if fault == "foreign authority":
        pair = foreign.server("tls", [HOST], [])
    elif fault == "no authority":
        ca_file = None
    elif fault == "expired":
        pair = ours.server("old", [HOST], [], valid_for=EXPIRED)
    else:
        pair = ours.server("tls", ["batch.team.svc"], ["127.0.0.1"])
    async with served(pair) as port, operator(sis(port), ca_file) as found:
        resized = await found.resized()

        assert (resized.status, resized.reason) == (False, "RuntimeUntrusted")
        assert said in resized.message
        assert "chat-0: its certificate is not trusted" in resized.message
        assert "spec.server.tls" in resized.message
        (replica,) = await found.replicas()
        assert not await replica.runtime.is_ready()


async def test_plain_http_where_tls_is_due_gets_no_token(served: Served, ours: Authority) -> None:
    async with served(None) as port, operator(sis(port), ours.file) as found:
        resized = await found.resized()
    assert (resized.status, resized.reason) == (None, "RuntimeUnreachable")
    assert "SSL" in resized.message


@pytest.mark.parametrize("tls", [True, False])
async def test_a_wrong_token_is_refused_and_the_status_says_so(
    served: Served, ours: Authority, tls: bool
) -> None:
    pair = ours.server("tls", [HOST], []) if tls else None
    async with served(pair) as port, operator(sis(port, tls), ours.file, "wrong") as found:
        resized = await found.resized()
    assert (resized.status, resized.reason) == (False, "TokenRefused")
    assert "401" in resized.message
    assert "bearer token" in resized.message


async def test_a_new_authority_is_taken_up(
    served: Served, ours: Authority, foreign: Authority, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.crt"
    bundle.write_bytes(foreign.file.read_bytes())
    pair = ours.server("tls", [HOST], [])
    async with served(pair) as port, operator(sis(port), bundle) as found:
        assert (await found.resized()).status is False
        replace(bundle, foreign.file.read_bytes() + ours.file.read_bytes())
        assert (await found.resized()).status is True
        replace(bundle, b"no certificate")
        assert (await found.resized()).status is True


async def test_a_renewed_certificate_is_shown_and_taken(served: Served, ours: Authority) -> None:
    pair = ours.server("tls", [HOST], [], valid_for=EXPIRED)
    async with served(pair) as port, operator(sis(port), ours.file) as found:
        assert (await found.resized()).reason == "RuntimeUntrusted"
        ours.server("tls", [HOST], [])
        assert (await found.resized()).status is True


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_an_unusable_bundle_is_told_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "ca.crt"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(ConfigError, match=r"CA bundle .*ca\.crt"):
        Authorities(bundle)
