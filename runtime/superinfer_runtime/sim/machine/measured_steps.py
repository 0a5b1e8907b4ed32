"""Step times learned from a running engine: a sum of few terms, fitted to observed steps.

For machines of which no operator was measured, such as the CPU that a development run serves on. A
step costs a fixed time, and more for each decode, each token of a decode's context, each chunk of a
prompt and each of its tokens. Invariant: no term is negative, so more work never takes less time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepObservation:
    """One step of a real engine: what it computed, and how long it took."""

    num_decodes: int
    decode_context_tokens: int
    """Tokens that the decodes attend to, summed."""
    num_chunks: int
    """Prompts of which some tokens were computed."""
    prefill_tokens: int
    step_s: float


@dataclass(frozen=True, slots=True)
class MeasuredSteps:
    """Costs in seconds, as `sim.replica.StepCosts` asks for them."""

    fixed_s: float
    decode_s: float
    context_token_s: float
    chunk_s: float
    prefill_token_s: float

    def step_s(
        self,
        num_decodes: int,
        decode_context_tokens: int,
        prefills: Sequence[tuple[int, int]],
        num_sampled: int,
    ) -> float:
        """Return the seconds of one step; 0 for an empty one. See `StepTimes.step_s`.

        Sampling is part of a decode's and a chunk's cost; what a chunk attends to costs nothing.
        """
        if not (num_decodes or prefills):
            return 0.0
        prefill_tokens = sum(tokens for tokens, _ in prefills)
        return self._sum_s(num_decodes, decode_context_tokens, len(prefills), prefill_tokens)

    def cpu_s(self, num_scheduled: int) -> float:
        """Return 0: what was observed is the whole step, the CPU's part among it."""
        return 0.0

    def expected_s(self, step: StepObservation) -> float:
        """Return what an observed step should have taken."""
        return self._sum_s(
            step.num_decodes, step.decode_context_tokens, step.num_chunks, step.prefill_tokens
        )

    def _sum_s(self, decodes: int, context_tokens: int, chunks: int, prefill_tokens: int) -> float:
        return (
            self.fixed_s
            + self.decode_s * decodes
            + self.context_token_s * context_tokens
            + self.chunk_s * chunks
            + self.prefill_token_s * prefill_tokens
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """Costs, and how far single steps are from them."""

    costs: MeasuredSteps
    num_steps: int
    mean_step_s: float
    residual_s: float
    """Root mean square of what the costs leave unexplained."""
    mean_error: float
    """Mean absolute residual as a share of the mean step."""


def fit(observations: Sequence[StepObservation]) -> Fit:
    """Return the costs with the least squared error over ``observations``, none of them negative.

    Squares of seconds, not of shares: long steps count for what they take, so that the predicted
    total is near the observed one.

    Raises:
        ValueError: there are fewer steps than terms.
    """
    work = np.array(
        [
            (1, o.num_decodes, o.decode_context_tokens, o.num_chunks, o.prefill_tokens)
            for o in observations
        ],
        float,
    )
    if len(work) < len(MeasuredSteps.__slots__):
        raise ValueError(f"{len(work)} steps are too few to learn what a step costs")
    took_s = np.array([o.step_s for o in observations])
    costs = _non_negative(work, took_s)
    residuals = took_s - work @ costs
    mean_step_s = float(took_s.mean())
    return Fit(
        MeasuredSteps(*costs.tolist()),
        num_steps=len(took_s),
        mean_step_s=mean_step_s,
        residual_s=float(np.sqrt((residuals**2).mean())),
        mean_error=float(np.abs(residuals).mean()) / mean_step_s,
    )


def _non_negative(work: Floats, took_s: Floats) -> Floats:
    """Least squares under non-negativity.

    The best such costs are ordinary least squares over the terms that are not 0. Which those are is
    tried out: five terms have 31 choices.
    """
    scale = np.where(work.any(axis=0), np.abs(work).max(axis=0), 1.0)
    scaled = work / scale
    num_terms = work.shape[1]
    best = np.zeros(num_terms)
    least = float((took_s**2).sum())
    for count in range(1, num_terms + 1):
        for terms in map(list, combinations(range(num_terms), count)):
            found, *_ = np.linalg.lstsq(scaled[:, terms], took_s, rcond=None)
            if (found < 0.0).any():
                continue
            error = float(((took_s - scaled[:, terms] @ found) ** 2).sum())
            if error < least:
                least = error
                best = np.zeros(num_terms)
                best[terms] = found
    costs: Floats = best / scale
    return costs
