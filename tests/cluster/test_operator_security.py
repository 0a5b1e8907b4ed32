"""A service with API keys and a certificate from Secrets of its user, on the real API server."""

import asyncio
import base64
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import Authority
from cluster import Cluster, condition, holds, light_service

pytestmark = pytest.mark.cluster


def secret(namespace: str, name: str, **entries: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value).decode() for key, value in entries.items()},
    }


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def url(cluster: Cluster, team: str, authority: Authority) -> str:
    """Where the service answers, once it is ready: the kubelet probes it over HTTPS."""
    pair = authority.server("tls", [f"chat.{team}.svc"], [])
    tls = {"tls.crt": pair.public.read_bytes(), "tls.key": pair.key.read_bytes()}
    await cluster.apply(
        secret(team, "chat-tls", **tls),
        secret(team, "chat-keys", **{"api-keys": b"first\n"}),
        light_service(
            "chat",
            team,
            server={
                "drainSeconds": 1,
                "tls": {"secretName": "chat-tls"},
                "apiKeySecretRef": {"name": "chat-keys"},
            },
        ),
    )
    ready = await cluster.until(team, "sis", "chat", holds("Ready", "Servable"))
    assert ready["status"]["url"] == f"https://chat.{team}.svc:8000"
    return (await cluster.address(team, "chat")).replace("http:", "https:")


async def test_secrets_of_the_user_guard_a_service_and_are_replaced_under_way(
    cluster: Cluster, team: str, authority: Authority, url: str
) -> None:
    trust = ssl.create_default_context(cafile=authority.file)
    called = {"sni_hostname": f"chat.{team}.svc"}
    (pod,) = await cluster.pods_of(team, "chat")
    async with httpx.AsyncClient(base_url=url, verify=trust, trust_env=False) as http:

        async def status(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            answer = await http.post("/v1/completions", json={}, headers=headers, extensions=called)
            return answer.status_code

        assert await status("wrong") == 401
        assert await status("first") == 200

        await cluster.apply(secret(team, "chat-keys", **{"api-keys": b"second\n"}))
        async with asyncio.timeout(30):
            while await status("second") != 200:
                await asyncio.sleep(0.2)
        assert await status("first") == 401

    (after,) = await cluster.pods_of(team, "chat")
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


async def test_a_certificate_that_the_operator_does_not_trust_stands_in_the_status(
    cluster: Cluster, team: str, url: str
) -> None:
    """This operator was installed without the authority of this service."""
    told = await cluster.until(
        team,
        "sis",
        "chat",
        lambda sis: condition(sis, "KVBudgetResized").get("reason") == "RuntimeUntrusted",
    )
    resized = condition(told, "KVBudgetResized")
    assert resized["status"] == "False"
    assert "its certificate is not trusted" in resized["message"]
    assert condition(told, "Servable")["status"] == "True"
