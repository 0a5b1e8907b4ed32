"""How many series are held at most: by one service, within what all hold together."""

from superinfer_operator.telemetry.rejection import Reason

MAX_SERIES_OF_A_SERVICE = 32_768
MAX_SERIES = 131_072
"""Of all services. One with a full window takes 2 KiB, and the chart gives the operator 512 MiB."""


class SeriesRoom:
    """Counts the series held; a room with an ``outer`` one takes from both."""

    def __init__(self, limit: int, full: Reason, outer: "SeriesRoom | None" = None) -> None:
        self.held = 0
        self._limit = limit
        self._full = full
        self._outer = outer

    @classmethod
    def of_all(cls, limit: int = MAX_SERIES) -> "SeriesRoom":
        return cls(limit, Reason.NO_ROOM)

    def of_a_service(self, limit: int = MAX_SERIES_OF_A_SERVICE) -> "SeriesRoom":
        """Return a service's share of this room."""
        return SeriesRoom(limit, Reason.TOO_MANY_SERIES_OF_SERVICE, self)

    def take(self) -> Reason | None:
        """Take the place of one more series; returns why there is none."""
        if self.held >= self._limit:
            return self._full
        if self._outer is not None and (full := self._outer.take()) is not None:
            return full
        self.held += 1
        return None

    def give_back(self, count: int) -> None:
        self.held -= count
        if self._outer is not None:
            self._outer.give_back(count)
