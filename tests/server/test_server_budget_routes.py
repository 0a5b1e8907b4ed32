"""`/v1/kv/budget` against a fake engine behind a real control socket."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.types import ASGIApp
from superinfer_contract.kv_budget import PATH, KvBudget
from superinfer_contract.runtime_config import ServerConfig
from superinfer_contract.validation import ConfigError
from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.budget_routes import BudgetRoutes, ResizableEngine
from superinfer_runtime.server.control_client import (
    ControlClient,
    ControlRefused,
    ControlUnavailable,
)

MIB = 2**20
TOKEN = {"authorization": "Bearer secret"}
Client = Callable[[ASGIApp], httpx.AsyncClient]


def app(engine: Any, token: str | None = "secret", fixed_reason: str = "") -> Starlette:
    resizable = engine and ResizableEngine(ControlClient(str(engine.path), 2.0), engine.wake)
    return Starlette(routes=BudgetRoutes(AdminToken(token), resizable, fixed_reason).routes)


async def test_get_answers_the_state(client: Client, engine: Any) -> None:
    response = await client(app(engine)).get(PATH, headers=TOKEN)
    budget = KvBudget.model_validate_json(response.content)
    assert response.status_code == 200
    assert budget.dram.allocated_bytes == 16 * MIB
    assert budget.dram.in_use_bytes == 5 * MIB
    assert not budget.pending
    assert budget.rotation_enabled


async def test_patch_takes_effect_and_wakes_the_engine(client: Client, engine: Any) -> None:
    response = await client(app(engine)).patch(PATH, headers=TOKEN, json={"dram_bytes": "33Mi"})
    budget = KvBudget.model_validate_json(response.content)
    assert response.status_code == 200
    assert budget.dram.desired_bytes == budget.dram.allocated_bytes == 32 * MIB  # whole steps
    assert budget.hbm.desired_bytes == 16 * MIB
    assert engine.num_woken == 1


async def test_patch_says_when_memory_is_still_moving(client: Client, engine: Any) -> None:
    engine.pins_at_once = False
    response = await client(app(engine)).patch(PATH, headers=TOKEN, json={"dram_bytes": 32 * MIB})
    budget = KvBudget.model_validate_json(response.content)
    assert response.status_code == 202
    assert budget.pending
    assert (budget.dram.desired_bytes, budget.dram.allocated_bytes) == (32 * MIB, 16 * MIB)


async def test_patch_cuts_the_share_of_a_known_class(client: Client, engine: Any) -> None:
    cut = await client(app(engine)).patch(PATH, headers=TOKEN, json={"class_shares": {"chat": 0.5}})
    assert cut.status_code == 200
    assert cut.json()["class_shares"] == {"chat": 0.5}
    for wrong in ({"who": 0.5}, {"chat": 0.0}, {}):
        refused = await client(app(engine)).patch(PATH, headers=TOKEN, json={"class_shares": wrong})
        assert refused.status_code == 400


async def test_an_engine_too_busy_to_be_woken_is_no_error(client: Client, engine: Any) -> None:
    async def wake() -> None:
        raise RuntimeError("busy")

    routes = BudgetRoutes(
        AdminToken("secret"), ResizableEngine(ControlClient(str(engine.path)), wake)
    ).routes
    patched = await client(Starlette(routes=routes)).patch(
        PATH, headers=TOKEN, json={"dram_bytes": 32 * MIB}
    )
    assert patched.status_code == 202


async def test_out_of_bounds_is_refused_with_the_bounds(client: Client, engine: Any) -> None:
    response = await client(app(engine)).patch(PATH, headers=TOKEN, json={"dram_bytes": "1Gi"})
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert str(4 * MIB) in message
    assert str(64 * MIB) in message
    assert engine.num_woken == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "Invalid JSON"),
        ("{}", "name at least one"),
        ('{"dram_bytes": "lots"}', "byte quantity"),
        ('{"dram": 1}', "dram"),
        ("[]", "top level"),
    ],
)
async def test_a_bad_body_is_refused(client: Client, engine: Any, body: str, says: str) -> None:
    response = await client(app(engine)).patch(PATH, headers=TOKEN, content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert says in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret"}],
)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_wrong_token_changes_and_shows_nothing(
    client: Client, engine: Any, method: str, headers: dict[str, str]
) -> None:
    response = await client(app(engine)).request(
        method, PATH, headers=headers, json={"dram_bytes": 8 * MIB}
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert engine.snapshot.dram.desired_bytes == 16 * MIB


async def test_without_a_configured_token_only_get_works(client: Client, engine: Any) -> None:
    open_app = client(app(engine, token=None))
    assert (await open_app.get(PATH)).status_code == 200
    response = await open_app.patch(PATH, headers=TOKEN, json={"dram_bytes": 8 * MIB})
    assert response.status_code == 403
    assert "server.admin_token" in response.json()["error"]["message"]


async def test_stock_policy_has_nothing_to_resize(client: Client) -> None:
    stock = client(app(None, fixed_reason="policy is stock"))
    for response in (
        await stock.get(PATH, headers=TOKEN),
        await stock.patch(PATH, headers=TOKEN, json={"dram_bytes": 1}),
    ):
        assert response.status_code == 409
        assert "policy is stock" in response.json()["error"]["message"]


async def test_a_model_that_cannot_rotate_is_told(client: Client, engine: Any) -> None:
    engine.snapshot = replace(engine.snapshot, rotation_off_reason="two kinds of KV cache")
    got = await client(app(engine)).get(PATH, headers=TOKEN)
    assert got.json()["rotation_off_reason"] == "two kinds of KV cache"
    patched = await client(app(engine)).patch(PATH, headers=TOKEN, json={"dram_bytes": 8 * MIB})
    assert patched.status_code == 409


async def test_an_engine_that_does_not_answer(client: Client, engine: Any) -> None:
    engine.path = engine.path.with_name("nobody")
    response = await client(app(engine)).get(PATH, headers=TOKEN)
    assert response.status_code == 503


async def test_the_control_client_tells_its_errors_apart(engine: Any, tmp_path: Path) -> None:
    control = ControlClient(str(engine.path), 2.0)
    assert await control.get() == engine.snapshot
    with pytest.raises(ControlRefused, match="must lie between"):
        await control.set(None, 1)
    with pytest.raises(ControlUnavailable):
        await ControlClient(str(tmp_path / "nobody"), 0.2).get()
    engine.answer = lambda _: {"snapshot": {"rubbish": 1}}
    with pytest.raises(ControlUnavailable, match="unreadable"):
        await control.get()


async def test_a_rotated_token_file_takes_effect(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")
    token = AdminToken.of(ServerConfig(admin_token_file=path))
    assert token.accepts("Bearer old")
    path.write_text("new\n")
    assert token.accepts("bearer new")
    assert not token.accepts("Bearer old")
    os.unlink(path)
    assert token.accepts("Bearer new")


def test_a_token_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    for config in (
        ServerConfig(admin_token_file=tmp_path / "missing"),
        ServerConfig(admin_token_file=tmp_path / "empty"),
        ServerConfig(admin_token=SecretStr("")),
    ):
        with pytest.raises(ConfigError, match="admin_token"):
            AdminToken.of(config)
    assert not AdminToken.of(ServerConfig()).accepts("Bearer ")
