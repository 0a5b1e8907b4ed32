"""Errors as OpenAI's API writes them, so that stock client libraries show their message."""

from collections.abc import Mapping

from starlette.responses import JSONResponse


def openai_error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return ``{"error": {message, type, param, code}}`` with HTTP ``status``."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers)
