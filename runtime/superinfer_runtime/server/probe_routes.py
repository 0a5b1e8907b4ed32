"""`/live` and `/ready`. vLLM's own `/health` stays as it is.

Live says that the process's loop answers and nothing about load, so a busy engine is never
restarted for being busy. The HTTP server opens its port only when the model is loaded: until then
probes meet a refused connection.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def probe_routes(not_ready_reason: Callable[[], str | None]) -> list[Route]:
    """Return the routes; ``not_ready_reason`` is asked at each probe, None means ready."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        reason = not_ready_reason()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, 503)

    return [Route("/live", live), Route("/ready", ready)]
