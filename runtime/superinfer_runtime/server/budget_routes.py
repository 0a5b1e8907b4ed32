"""`GET|PATCH /v1/kv/budget`: live KV budgets over HTTP.

PATCH is idempotent: it states wished-for budgets and answers what is desired and what is allocated;
202 says that memory is still being pinned or given back. Errors are in OpenAI's shape: 400 a body
or a budget out of bounds, 401 the token, 403 no token configured, 409 nothing to resize, 503 the
engine did not answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from superinfer_contract.kv_budget import PATH, Activity, KvBudget, KvBudgetPatch, TierState
from superinfer_contract.validation import describe

from superinfer_runtime.server.admin_token import AdminToken
from superinfer_runtime.server.control_client import (
    ControlClient,
    ControlRefused,
    ControlUnavailable,
)
from superinfer_runtime.server.openai_error import openai_error
from superinfer_runtime.telemetry.snapshot import EngineSnapshot, TierSnapshot

WAKE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ResizableEngine:
    """What the routes need of a running engine."""

    control: ControlClient
    wake: Callable[[], Awaitable[object]]
    """Makes an idle engine take a step, in which it applies wishes."""


class BudgetRoutes:
    """The routes; ``engine`` is None where nothing can be resized, for ``fixed_reason``."""

    def __init__(
        self, token: AdminToken, engine: ResizableEngine | None, fixed_reason: str = ""
    ) -> None:
        self._token = token
        self._engine = engine
        self._fixed_reason = fixed_reason

    @property
    def routes(self) -> list[Route]:
        return [
            Route(PATH, self.get, methods=["GET"]),
            Route(PATH, self.patch, methods=["PATCH"]),
        ]

    async def get(self, request: Request) -> Response:
        if self._token.configured and not self._authorised(request):
            return _unauthorised()
        if self._engine is None:
            return _conflict(self._fixed_reason)
        try:
            snapshot = await self._engine.control.get()
        except (ControlUnavailable, ControlRefused) as error:
            return _unavailable(error)
        return JSONResponse(kv_budget(snapshot).model_dump())

    async def patch(self, request: Request) -> Response:
        if not self._token.configured:
            return openai_error(
                403,
                "changing KV budgets needs a token and none is configured: set server.admin_token "
                "or server.admin_token_file in the runtime configuration",
                kind="permission_error",
                code="admin_token_not_configured",
            )
        if not self._authorised(request):
            return _unauthorised()
        body = await request.body()
        try:
            wish = KvBudgetPatch.model_validate_json(body)
        except ValidationError as error:
            where = next((str(part) for part in error.errors()[0]["loc"]), None)
            return openai_error(400, describe(error), param=where, code="invalid_budget")
        if self._engine is None:
            return _conflict(self._fixed_reason)
        return await self._apply(self._engine, wish)

    async def _apply(self, engine: ResizableEngine, wish: KvBudgetPatch) -> Response:
        try:
            before = await engine.control.get()
            if before.rotation_off_reason is not None:
                return _conflict(before.rotation_off_reason)
            await engine.control.set(wish.hbm_bytes, wish.dram_bytes, wish.class_shares)
            # A busy engine steps anyway, and one that is too busy to answer needs no waking.
            with suppress(Exception):
                async with asyncio.timeout(WAKE_TIMEOUT_S):
                    await engine.wake()
            budget = kv_budget(await engine.control.get())
        except ControlRefused as error:
            return openai_error(400, str(error), code="budget_out_of_bounds")
        except ControlUnavailable as error:
            return _unavailable(error)
        return JSONResponse(budget.model_dump(), 202 if budget.pending else 200)

    def _authorised(self, request: Request) -> bool:
        return self._token.accepts(request.headers.get("authorization"))


def kv_budget(snapshot: EngineSnapshot) -> KvBudget:
    """Return the contract's view of the engine's state."""
    hbm, dram = _tier(snapshot.hbm), _tier(snapshot.dram)
    return KvBudget(
        hbm=hbm,
        dram=dram,
        pending=hbm.pending or dram.pending,
        activity=Activity(
            rotations_out=snapshot.out.rotations,
            rotations_in=snapshot.into.rotations,
            bytes_out=snapshot.out.bytes,
            bytes_in=snapshot.into.bytes,
            stalls=snapshot.rotation_stalls,
            recompute_preemptions=snapshot.recompute_preemptions,
        ),
        class_shares=snapshot.class_shares,
        rotation_enabled=snapshot.rotation_off_reason is None,
        rotation_off_reason=snapshot.rotation_off_reason,
    )


def _tier(tier: TierSnapshot) -> TierState:
    return TierState(
        min_bytes=tier.min_bytes,
        max_bytes=tier.max_bytes,
        desired_bytes=tier.desired_bytes,
        allocated_bytes=tier.budget_bytes,
        in_use_bytes=tier.used_bytes,
        step_bytes=tier.step_bytes,
    )


def _unauthorised() -> Response:
    return openai_error(
        401,
        "a valid bearer token is needed (Authorization: Bearer <admin token>)",
        kind="authentication_error",
        code="invalid_api_key",
        headers={"www-authenticate": "Bearer"},
    )


def _conflict(reason: str) -> Response:
    return openai_error(409, f"KV budgets are fixed: {reason}", code="kv_budget_fixed")


def _unavailable(error: Exception) -> Response:
    return openai_error(
        503, str(error), kind="service_unavailable_error", code="engine_unavailable"
    )
