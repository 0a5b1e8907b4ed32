"""The status page of `up`: the one service on it, told in the words of services on Kubernetes."""

import contextlib
from collections.abc import AsyncIterator, Callable

from superinfer_contract.service import SuperInferService

from superinfer_operator import service_health
from superinfer_operator.conditions import ConditionType
from superinfer_operator.status import Phase, View
from superinfer_operator.status_page.board import Board, Look
from superinfer_operator.status_page.pages import status_app
from superinfer_operator.telemetry.http_server import bind, serving_app
from superinfer_operator.transitions import Condition


@contextlib.asynccontextmanager
async def shown_on_a_page(
    host: str, port: int | None, say: Callable[[str], None]
) -> AsyncIterator[Board]:
    """Give a board, and serve it while the context lasts unless ``port`` is None.

    Raises:
        OSError: the port cannot be used.
    """
    board = Board()
    if port is None:
        yield board
        return
    try:
        listener = bind(host, port)
    except OSError as error:
        raise OSError(
            f"the status page cannot listen on port {port} of {host}: {error.strerror}; "
            "give another --status-port"
        ) from error
    async with serving_app(status_app(board), listener) as shown_at:
        say(f"status page at {shown_at}")
        yield board


def look_at(service: SuperInferService, view: View) -> Look:
    """Return what the page is told; the phase of the runtime stands for the pods' conditions."""
    ready = view.phase is Phase.READY
    said = f"the runtime is {view.phase}"
    if view.restarts:
        said += f", restarts: {view.restarts}"
    conditions = [
        Condition(ConditionType.READY, True if ready else None, view.phase.name.title(), said),
        *service_health.conditions(service.spec, view.turn),
    ]
    return Look(conditions, service.spec, view.turn, view.url, 1, int(ready))
