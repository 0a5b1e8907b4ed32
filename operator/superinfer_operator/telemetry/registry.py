"""The windows of all services, each with its own reach.

The reconciler registers the services that exist; telemetry of any other is rejected and leaves no
trace. A service is named by its identity, ``namespace/name``.
"""

from collections import defaultdict
from collections.abc import Iterable

from superinfer_operator.telemetry.points import Point
from superinfer_operator.telemetry.rejection import Reason, Rejected
from superinfer_operator.telemetry.series_room import SeriesRoom
from superinfer_operator.telemetry.windows import Windows

MAX_SERVICES = 4096


class TooManyServices(Exception):
    """No more services can be watched; the message says how many are."""


class Registry:
    """Windows by service.

    >>> registry.register("team/chat", window_s=30, stale_s=17)
    >>> rejected = registry.add(points, now_s=clock())
    """

    def __init__(self) -> None:
        self._windows: dict[str, Windows] = {}
        self._room = SeriesRoom.of_all()

    @property
    def num_series(self) -> int:
        """Series held, of all services."""
        return self._room.held

    def __len__(self) -> int:
        return len(self._windows)

    def register(self, service: str, window_s: float, stale_s: float) -> Windows:
        """Return the windows of ``service``; if it is known, with a new reach and all they hold.

        Raises:
            TooManyServices: the limit is reached.
        """
        windows = self._windows.get(service)
        if windows is not None:
            windows.update(window_s, stale_s)
            return windows
        if len(self._windows) >= MAX_SERVICES:
            raise TooManyServices(
                f"{service}: telemetry of {MAX_SERVICES} services is received already; "
                "delete services, or run another operator for some namespaces"
            )
        windows = self._windows[service] = Windows(window_s, stale_s, self._room.of_a_service())
        return windows

    def unregister(self, service: str) -> None:
        """Forget ``service``, if it is known."""
        windows = self._windows.pop(service, None)
        if windows is not None:
            windows.keep_only(())

    def windows(self, service: str) -> Windows | None:
        """The windows of ``service``; None: it is not registered."""
        return self._windows.get(service)

    def add(self, points: Iterable[Point], now_s: float) -> Rejected:
        """Hand each point to its service's windows; returns what was not taken."""
        by_service: defaultdict[str, list[Point]] = defaultdict(list)
        for point in points:
            by_service[point.source.service].append(point)
        rejected = Rejected()
        for service, of_service in by_service.items():
            windows = self._windows.get(service)
            if windows is None:
                rejected[Reason.UNKNOWN_SERVICE] += len(of_service)
            else:
                rejected += windows.add(of_service, now_s)
        return rejected
