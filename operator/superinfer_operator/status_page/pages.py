"""The page and its JSON twin over HTTP: reads only, and nothing but this server is ever loaded."""

import json
from dataclasses import asdict
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from superinfer_contract.quantity import format_bytes

from superinfer_operator.status_page import sparkline, view
from superinfer_operator.status_page.board import Board

REFRESH_S = 5
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
UNKNOWN = "–"


def status_app(board: Board) -> Starlette:
    """Return the app that shows ``board``."""
    pages = _Pages(board)
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/style.css", pages.style),
            Route("/api/v1/services", pages.services),
        ]
    )


class _Pages:
    def __init__(self, board: Board) -> None:
        self._board = board
        self._template = _environment().get_template("page.html")
        self._style = _file("style.css")

    async def page(self, _: Request) -> Response:
        text = self._template.render(page=self._shown(), refresh_s=REFRESH_S)
        return Response(text, headers=HEADERS, media_type="text/html")

    async def style(self, _: Request) -> Response:
        return Response(self._style, headers=HEADERS, media_type="text/css")

    async def services(self, _: Request) -> Response:
        text = json.dumps(asdict(self._shown()), default=str)
        return Response(text, headers=HEADERS, media_type="application/json")

    def _shown(self) -> view.Page:
        return view.page(self._board.entries, self._board.clock(), self._board.now())


def _environment() -> Environment:
    made = Environment(
        autoescape=True,
        loader=FunctionLoader(_file),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"bytes": format_bytes, "percent": _percent, "seconds": _seconds}
    made.globals |= {"path": sparkline.path, "y": sparkline.y}
    return made


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _percent(share: float | None) -> str:
    """A tenth of a percent matters near a target; all of them is 100 %, nearly all is not."""
    if share is None:
        return UNKNOWN
    return "100 %" if share == 1 else f"{min(share, 0.999):.1%}".replace("%", " %")


def _seconds(duration_s: float) -> str:
    if duration_s < 1:
        return f"{duration_s * 1000:.0f} ms"
    return f"{duration_s:.3g} s" if duration_s < 120 else f"{duration_s / 60:.0f} min"
