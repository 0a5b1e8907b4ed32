"""What a service did lately: attainment over time and steps of the ladder, bounded in memory.

Attainment is sampled at most once a period, so a ring spans the same time however often it is told.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from superinfer_operator.ladder.move import Rung
from superinfer_operator.turn import Outcome, Turn

PERIOD_S = 5.0
SAMPLES = 180
SPAN_S = PERIOD_S * SAMPLES
MAX_STEPS = 12
CLOSE_ENOUGH = 0.9
"""Of a period: turns that come about once a period are all sampled."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Joint attainment by class; None where no request was judged."""

    time_s: float
    attained: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step of the ladder, and what became of it."""

    time: datetime
    rung: str
    outcome: str
    reason: str


class History:
    """One service's last samples and steps, oldest first."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self.steps: deque[StepTaken] = deque(maxlen=MAX_STEPS)
        self._told: tuple[object, ...] | None = None

    def sampled(self, attained: Mapping[str, float | None], now_s: float) -> None:
        """Keep a sample, unless the last one is too fresh."""
        if self.samples and now_s - self.samples[-1].time_s < CLOSE_ENOUGH * PERIOD_S:
            return
        self.samples.append(Sample(now_s, attained))

    def turned(self, turn: Turn, now: datetime) -> None:
        """Keep what a turn ended and decided; that nothing is to be done, or still, is no step."""
        decision = turn.decision
        if decision.ended is not None:
            outcome = Outcome.LANDED if decision.landed else Outcome.TIMED_OUT
            self._ended(StepTaken(now, decision.ended.move.rung, outcome, decision.ended.reason))
        topic = (*decision.topic, turn.outcome)
        if (decision.rung is not Rung.HOLD and topic != self._told) or decision.execute:
            said = decision.reason
            if turn.outcome is Outcome.REFUSED and turn.trouble:
                said = f"{said}: {turn.trouble}"
            self.steps.append(StepTaken(now, decision.rung, turn.outcome, said))
        self._told = topic

    def _ended(self, step: StepTaken) -> None:
        """Say of a step that was under way what became of it, in its own line."""
        last = self.steps[-1] if self.steps else None
        if last is not None and (last.rung, last.reason) == (step.rung, step.reason):
            self.steps.pop()
        self.steps.append(step)
