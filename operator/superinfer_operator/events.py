"""Decisions and steps as JSON lines, for a demo or a person with `jq`.

One object a line: ``{"time_s", "tier", "from_bytes", "to_bytes", "rung", "reason", "outcome"}``;
``time_s`` is Unix time; tier and sizes are null where no tier is moved. A decision that says the
same as the one before, but for its numbers, writes nothing.
"""

import json
import time
from typing import TextIO

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.move import Move, Step
from superinfer_operator.ladder.view import Observed
from superinfer_operator.turn import Outcome, Turn


class EventLog:
    """Writes events to ``file`` (None: nowhere), each flushed at once."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self._last: tuple[object, ...] | None = None

    def turned(self, turn: Turn) -> None:
        """Write what ``turn`` ended and decided."""
        if turn.decision.ended is not None:
            self._ended(turn.decision.ended, turn.decision.landed, turn.seen)
        self._decided(turn.decision, turn.outcome, turn.trouble)

    def _decided(self, decision: Decision, outcome: Outcome, trouble: str) -> None:
        """Write ``decision`` unless it repeats the last one."""
        said = (*decision.topic, outcome)
        if said == self._last and not decision.execute:
            return
        self._last = said
        refused = outcome is Outcome.REFUSED and trouble
        reason = f"{decision.reason}: {trouble}" if refused else decision.reason
        self._write(decision.move, None, decision.rung, reason, outcome)

    def _ended(self, step: Step, landed: bool, seen: Observed) -> None:
        """Write what became of ``step``, with what is in force then, if that is known."""
        held = None if step.move.tier is None else seen.tiers.get(step.move.tier)
        outcome = Outcome.LANDED if landed else Outcome.TIMED_OUT
        in_force_bytes = None if held is None else held.allocated_bytes
        self._write(step.move, in_force_bytes, step.move.rung, step.reason, outcome)

    def _write(
        self,
        move: Move | None,
        in_force_bytes: int | None,
        rung: str,
        reason: str,
        outcome: Outcome,
    ) -> None:
        if self._file is None:
            return
        tier: Tier | None = None
        from_bytes = to_bytes = None
        if move is not None and move.tier is not None:
            tier, from_bytes = move.tier, int(move.start)
            to_bytes = int(move.end) if in_force_bytes is None else in_force_bytes
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
