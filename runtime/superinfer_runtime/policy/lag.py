"""Virtual lag time (VLT): how late a request is against its own objectives.

Formulas of SuperInfer (arXiv 2601.20309, section 4.2.2), in seconds of the default class:

    rotary :  alpha * relu(now - last_token - tolerance)
    waiting:          relu(now - arrival - beta_ttft * TTFT)
    running:  -(now - run_start)

Three things are ours. *Pressing*: of the requests that wait and can still be in time, the one whose
deadline is next lags most. With one class that is the formula above; with several, a request of a
patient class lags noticeably only when no more time is left to it than one of the default class
has when that begins to lag. If classes compared by the share of their target that is gone, a
backlog of patient requests late in their long targets would hold up hasty ones until these are
lost. *Credit*: a request that produced tokens faster than its TBT target may sit out
``tbt_credit`` of the time it won, so rotating it costs nothing that was promised; 0 gives the
paper's formula. *Relegation*: a request that can no longer be good (its TTFT passed or will pass
before its prompt is computed, or even instant tokens would miss its mean TBT) counts as within
tolerance until it has aged: it takes what is left over and never pushes out one that can still be
saved; it ages back at ``relegation_ageing`` seconds a second, and then claims its part of what
relegated requests may hold (`policy/relegated_share`), with the lag that it would have without
relegation.
"""

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.policy.candidate import Candidate

NOT_PRESSING_S = 1e-6
"""Most lag of a request past its tolerance whose deadline is still far off."""


def is_lost(candidate: Candidate, now_s: float) -> bool:
    """Whether ``candidate`` misses its joint objective whatever is done from now on."""
    targets = candidate.targets
    first_s = candidate.first_token_s
    if first_s is None:
        return now_s - candidate.arrival_s > targets.ttft_s
    if first_s - candidate.arrival_s > targets.ttft_s:
        return True
    max_tokens = candidate.max_tokens
    return now_s - first_s > targets.tbt_s * (max_tokens - 1 if max_tokens > 2 else 1)


def waiting_lag_s(
    candidate: Candidate, now_s: float, knobs: SchedulerKnobs, is_let_go: bool = False
) -> float:
    """VLT of a request that has no KV yet; 0 while within tolerance.

    ``is_let_go``: its first token will be late whatever is done (`policy/triage`).
    """
    targets = candidate.targets
    waited_s = now_s - candidate.arrival_s
    lag_s = (waited_s - knobs.beta_ttft * targets.ttft_s) * targets.ttft_urgency
    if lag_s <= 0.0:
        return 0.0
    slack_s = targets.ttft_s - waited_s
    if knobs.relegate and (is_let_go or slack_s < 0.0):
        return _aged(lag_s, candidate, knobs)
    if slack_s < 0.0:
        return lag_s
    pressing_s = _largest_savable_lag_s(candidate, knobs) - slack_s
    return max(pressing_s, NOT_PRESSING_S / (1.0 + slack_s))


def rotary_lag_s(candidate: Candidate, now_s: float, knobs: SchedulerKnobs) -> float:
    """VLT of a request whose KV sits in DRAM; 0 while within tolerance."""
    targets = candidate.targets
    last_token_s = candidate.last_token_s
    tolerance_s = knobs.beta_tbt * targets.tbt_s
    credit = knobs.tbt_credit
    first_s = candidate.first_token_s
    if credit and first_s is not None:
        # `ahead_s` at the last token, written out: this runs for each rotary request each step.
        ahead_s = first_s + candidate.num_tokens * targets.tbt_s - last_token_s
        if ahead_s > 0.0:
            tolerance_s += credit * ahead_s
    late_s = now_s - last_token_s - tolerance_s
    if late_s <= 0.0:
        return 0.0
    lag_s = knobs.alpha * late_s * targets.tbt_urgency
    if knobs.relegate and is_lost(candidate, now_s):
        return _aged(lag_s, candidate, knobs)
    return lag_s


def running_lag_s(candidate: Candidate, now_s: float) -> float:
    """VLT of a request in HBM: the longer its stint, the further ahead of its share it is."""
    return -(now_s - candidate.run_start_s)


def relegation_bound_s(candidate: Candidate, knobs: SchedulerKnobs) -> float:
    """Wait after which a relegated waiting request claims its part of HBM.

    It starts to lag when its own lag, slowed by the ageing rate, passes that of a request at its
    deadline: ``(1 - beta_ttft) x TTFT``.
    """
    ttft_s = candidate.targets.ttft_s
    return knobs.beta_ttft * ttft_s + (1 - knobs.beta_ttft) * ttft_s / knobs.relegation_ageing


def unaged_lag_s(aged_s: float, candidate: Candidate, knobs: SchedulerKnobs) -> float:
    """VLT without relegation of one whose lag, relegated, is ``aged_s`` above 0."""
    return (aged_s + _largest_savable_lag_s(candidate, knobs)) / knobs.relegation_ageing


def _aged(lag_s: float, candidate: Candidate, knobs: SchedulerKnobs) -> float:
    aged_s = knobs.relegation_ageing * lag_s - _largest_savable_lag_s(candidate, knobs)
    return aged_s if aged_s > 0.0 else 0.0


def _largest_savable_lag_s(candidate: Candidate, knobs: SchedulerKnobs) -> float:
    """VLT of a waiting request at its deadline."""
    targets = candidate.targets
    return (1 - knobs.beta_ttft) * targets.ttft_s * targets.ttft_urgency
