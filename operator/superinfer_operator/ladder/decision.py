"""What the ladder answers: a rung, why, and at most one move."""

import re
from dataclasses import dataclass

from superinfer_contract.metrics import Tier

from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.move import Move, Rung, Step

_NUMBER = re.compile(r"\d[\d.]*([KMGT]i)?")


@dataclass(frozen=True, slots=True)
class Decision:
    """The rung, why, and the state to pass in next time.

    ``ended`` is the step that this decision found finished: ``landed`` or given up. In Plan mode
    there may be a ``move`` that is not to be carried out.
    """

    rung: Rung
    reason: str
    state: LadderState
    move: Move | None = None
    execute: bool = False
    ended: Step | None = None
    landed: bool = False

    @property
    def tier(self) -> Tier | None:
        return None if self.move is None else self.move.tier

    @property
    def topic(self) -> tuple[object, ...]:
        """What tells this decision from another but for the numbers in its reason."""
        return self.rung, self.move, _NUMBER.sub("#", self.reason)
