"""Writes deploy/charts/superinfer/files/dashboards/*.json; a test compares."""

from dashboards import budgets, fleet, rotation, slo
from dashboards.grid import Board, as_json
from dashboards.written import FOLDER

BOARDS: tuple[Board, ...] = (slo.BOARD, rotation.BOARD, budgets.BOARD, fleet.BOARD)


def texts() -> dict[str, str]:
    """Every file by its name."""
    return {f"{board.uid}.json": as_json(board) for board in BOARDS}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
