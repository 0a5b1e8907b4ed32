"""From a request's SLO headers to what the scheduler is told about it (pure).

The scheduler reads ``vllm_xargs`` of the request: the class by name, and per-request targets in
seconds where llm-d's headers (milliseconds) override the class's own.
"""

import math
from collections.abc import Mapping, Sequence

from superinfer_contract.headers import LLMD_TPOT_MS, LLMD_TTFT_MS, SLO_CLASS
from superinfer_contract.slo import SloClass

from superinfer_runtime.engine.requests import SLO_CLASS_ARG, SLO_TBT_ARG, SLO_TTFT_ARG

XArgs = dict[str, str | float]

_TARGET_HEADERS = ((LLMD_TTFT_MS, SLO_TTFT_ARG), (LLMD_TPOT_MS, SLO_TBT_ARG))


class SloHeaderError(Exception):
    """A header that is refused; the message says what would be accepted."""

    def __init__(self, header: str, code: str, message: str) -> None:
        super().__init__(message)
        self.header = header
        self.code = code


def slo_arguments(headers: Mapping[str, str], classes: Sequence[SloClass]) -> XArgs:
    """Return the ``vllm_xargs`` that ``headers`` (lower-case names) ask for.

    Raises:
        SloHeaderError: an unknown class, or a target that is not a positive number of milliseconds.
    """
    arguments: XArgs = {SLO_CLASS_ARG: _class_name(headers.get(SLO_CLASS), classes)}
    for header, argument in _TARGET_HEADERS:
        value = headers.get(header)
        if value is not None:
            arguments[argument] = _milliseconds(header, value) / 1000
    return arguments


def _class_name(asked: str | None, classes: Sequence[SloClass]) -> str:
    if asked is None:
        return next(slo_class.name for slo_class in classes if slo_class.default)
    name = asked.strip()
    known = [slo_class.name for slo_class in classes]
    if name not in known:
        raise SloHeaderError(
            SLO_CLASS,
            "unknown_slo_class",
            f"unknown SLO class {name!r}; this service has: {', '.join(known)}",
        )
    return name


def _milliseconds(header: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SloHeaderError(
            header,
            "invalid_slo_target",
            f"{header} must be a positive number of milliseconds, not {value!r}",
        )
    return number
