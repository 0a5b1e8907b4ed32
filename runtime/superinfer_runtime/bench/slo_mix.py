"""The SLO classes that a load is mixed from: which share of the requests, judged by what targets.

Targets are those of `superinfer_contract.slo`: TTFT, and the mean gap between a request's tokens.
Written on the command line as ``NAME:SHARE:TTFT_S:TBT_S[:INPUT:OUTPUT]``, for instance
``chat:0.7:1.0:0.1`` or, with prompt and output lengths of its own, ``batch:0.3:30:1:2000:200``.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from superinfer_contract.slo import CLASS_NAME_PATTERN, MAX_CLASSES, PAPER_TBT_S, PAPER_TTFT_S


@dataclass(frozen=True, slots=True)
class LoadClass:
    """One class of the mix. Shares are relative: the mix's sum counts as the whole."""

    name: str
    share: float
    ttft_s: float
    tbt_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(CLASS_NAME_PATTERN, self.name):
            raise ValueError(
                f"SLO class name {self.name!r} is not made of lower-case letters, digits and '-'"
            )
        for what, value in (
            ("share", self.share),
            ("TTFT target", self.ttft_s),
            ("TBT target", self.tbt_s),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"SLO class {self.name!r}: {what} must be above 0, not {value:g}")
        for what, tokens in (("input", self.input_tokens), ("output", self.output_tokens)):
            if tokens is not None and tokens < 1:
                raise ValueError(f"SLO class {self.name!r}: {what} length must be at least 1 token")


PAPER_MIX = (LoadClass("default", 1.0, PAPER_TTFT_S, PAPER_TBT_S),)
"""What a load is judged by when no class is named."""


def parse_load_class(text: str) -> LoadClass:
    """Read ``NAME:SHARE:TTFT_S:TBT_S[:INPUT:OUTPUT]``.

    Raises:
        ValueError: not of that form, or a value out of range.
    """
    parts = text.split(":")
    if len(parts) not in (4, 6):
        raise ValueError(
            f"SLO class {text!r} is not NAME:SHARE:TTFT_S:TBT_S[:INPUT:OUTPUT], "
            "for instance chat:0.7:1.0:0.1"
        )
    try:
        share, ttft_s, tbt_s = (float(part) for part in parts[1:4])
        lengths = [int(part) for part in parts[4:]]
    except ValueError as error:
        raise ValueError(f"SLO class {text!r}: {error}") from None
    return LoadClass(parts[0], share, ttft_s, tbt_s, *lengths)


def check_mix(classes: Sequence[LoadClass]) -> None:
    """Check what must hold of the classes together.

    Raises:
        ValueError: no class, too many, or two of one name.
    """
    if not 1 <= len(classes) <= MAX_CLASSES:
        raise ValueError(f"a load has 1 to {MAX_CLASSES} SLO classes, not {len(classes)}")
    if len({load_class.name for load_class in classes}) != len(classes):
        raise ValueError("SLO class names must differ from each other")
