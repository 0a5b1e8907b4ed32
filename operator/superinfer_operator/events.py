"""Decisions and budget steps as JSON lines, for a demo or a person with `jq`.

One object a line: ``{"time_s", "tier", "from_bytes", "to_bytes", "rung", "reason", "outcome"}``;
``time_s`` is Unix time; tier and sizes are null where nothing is moved. A decision that says the
same as the one before, but for its numbers, writes nothing.
"""

import json
import time
from enum import StrEnum
from typing import TextIO

from superinfer_operator.budget_model import Decision, Step


class Outcome(StrEnum):
    """What became of a decision."""

    NO_CHANGE = "no-change"  # the decision moves nothing
    PLANNED = "planned"  # Plan mode: would be done
    SENT = "sent"  # the runtime took the PATCH
    REFUSED = "refused"  # it did not; the reason says why
    LANDED = "landed"  # the budget is in force
    TIMED_OUT = "timed-out"


class EventLog:
    """Writes events to ``file`` (None: nowhere), each flushed at once."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._last: tuple[object, ...] | None = None

    def decided(self, decision: Decision, outcome: Outcome, failure: str = "") -> bool:
        """Write ``decision`` unless it repeats the last one; says whether it was news."""
        moves = decision.to_bytes is not None
        said = (*decision.topic, outcome)
        if said == self._last and not (moves and outcome is not Outcome.PLANNED):
            return False
        self._last = said
        self._write(
            decision.tier,
            decision.from_bytes,
            decision.to_bytes,
            decision.rung,
            f"{decision.reason}: {failure}" if failure else decision.reason,
            outcome,
        )
        return True

    def ended(self, step: Step, landed: bool, allocated_bytes: int | None) -> None:
        """Write what became of ``step``; ``to_bytes`` is what is in force then, if known."""
        self._write(
            step.tier,
            step.from_bytes,
            step.to_bytes if allocated_bytes is None else allocated_bytes,
            step.rung,
            step.reason,
            Outcome.LANDED if landed else Outcome.TIMED_OUT,
        )

    def _write(
        self,
        tier: str | None,
        from_bytes: int | None,
        to_bytes: int | None,
        rung: str,
        reason: str,
        outcome: Outcome,
    ) -> None:
        if self._file is None:
            return
        event = {
            "time_s": time.time(),
            "tier": tier,
            "from_bytes": from_bytes,
            "to_bytes": to_bytes,
            "rung": rung,
            "reason": reason,
            "outcome": outcome,
        }
        self._file.write(json.dumps(event) + "\n")
        self._file.flush()
