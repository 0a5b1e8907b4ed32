"""What a metric is called where Prometheus scrapes it.

OpenTelemetry's rules for Prometheus: dots become underscores, the unit is spelled out at the end
unless it stands there already, counters end in ``_total``, histograms are three series. Rules,
dashboards and docs are checked against this; that exporters do the same, a test compares.
"""

import re
from typing import Protocol

from superinfer_contract.metrics import Kind

_UNITS = {"s": "seconds", "By": "bytes", "By/s": "bytes_per_second", "1": ""}


class Named(Protocol):
    """A metric of either side's list."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def unit(self) -> str: ...


def label(attribute: str) -> str:
    """Return the label of an attribute."""
    return re.sub(r"[^a-zA-Z0-9]+", "_", attribute)


def series(metric: Named) -> tuple[str, ...]:
    """Return the names of the series that ``metric`` becomes.

    >>> from superinfer_contract.metrics import ROTATION_TIME
    >>> series(ROTATION_TIME)
    ('superinfer_kv_rotation_time_seconds_total',)
    """
    name, unit = label(metric.name), _unit(metric.unit)
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    if metric.kind is Kind.COUNTER:
        return (f"{name}_total",)
    if metric.kind is Kind.HISTOGRAM:
        return tuple(f"{name}_{part}" for part in ("bucket", "count", "sum"))
    return (name,)


def _unit(unit: str) -> str:
    return "" if unit.startswith("{") else _UNITS[unit]
