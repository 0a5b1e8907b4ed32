"""The joint attainment that no scheduler exceeds, not even one that knows all requests beforehand.

A good request does its prompt's work between its arrival and ``arrival + TTFT``, the rest before
the latest end that its targets allow, ``arrival + TTFT + TBT x (tokens - 1)``. Work is the least
part of the steps' time that falls to a request in any schedule. `StepTimes` promises of each
step, over the tokens it computes, the tokens it samples and the contexts that it reads,

    step_s >= max(products of tokens and samples, weights) + contexts x KV read
           >= share x products + (1 - share) x weights + contexts x KV read

for any share from 0 to 1. Products and contexts belong to requests. The weights' time is divided
among those in a step by the KV that each has for itself alone: all of it lies in HBM at once, which
holds M tokens, so c tokens bear c / M of it, and never more than all is given out.

Each of a request's n tokens is sampled in a step of its own, with p, p + 1 ... p + n - 1 tokens of
KV after a prompt of p. The first of these steps ends the computation of the prompt. Each other one
computes a token and reads the KV, or computes some of the KV again and reads the rest; as products
of m > 1 tokens instead of one are at least m / 2 more, counting at most half a token's products for
a token of KV that is read is right in both cases.

Then at most so many requests are good as jobs of two pieces end on time on one machine with the
replicas' speed (`on_time_jobs`); that holds for each share, so the smallest count stands. What a
request's text has in common with another's counts as cached: computed by nobody, kept by nobody.

Transfers, DRAM, the CPU and the engine's limits cost nothing here, so the truth may lie lower.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from superinfer_contract.slo import SloClass

from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.step_time import StepTimes
from superinfer_runtime.sim.on_time_jobs import Floats, Pieces, most_on_time
from superinfer_runtime.sim.request import SimRequest

SHARES = (0.02, 0.25, 0.5, 0.75, 1.0)
"""Those tried. 1 fits best where batches are large, little where HBM keeps them small; with still
less reading KV would not count."""
ROUNDING = 1e-6
"""Windows are wider by so many seconds, and counts by so much of a request: floats lose none."""


def joint_bound(
    requests: Sequence[SimRequest], classes: Sequence[SloClass], deployment: Deployment
) -> float:
    """Return a share of ``requests`` that no scheduler exceeds with both objectives; 1 of none.

    Args:
        requests: with their arrivals.
        classes: judge the requests; one that names none of them belongs to the default class.
        deployment: what serves.

    Raises:
        ValueError: a request has a next turn: when that arrives is up to the scheduler.
    """
    demand = _Demand(requests, classes, deployment)
    return demand.bound(np.ones(len(requests), dtype=bool))


def joint_bounds_by_class(
    requests: Sequence[SimRequest], classes: Sequence[SloClass], deployment: Deployment
) -> Mapping[str, float]:
    """Return such a share for each class, with everything there for it alone; see `joint_bound`.

    Each may be out of reach for a scheduler that serves the others as well.
    """
    demand = _Demand(requests, classes, deployment)
    return {c.name: demand.bound(demand.class_names == c.name) for c in classes}


@dataclass(frozen=True, slots=True)
class _Part:
    """Of every request's life the prompt, or the answer after its first token: an array each."""

    deadline_s: Floats
    products_s: Floats
    read_tokens: Floats
    """KV read, summed over the steps that sample."""
    held_tokens: Floats
    """KV of its own in HBM, summed over the same steps."""


class _Demand:
    """What a workload asks of a deployment."""

    def __init__(
        self, requests: Sequence[SimRequest], classes: Sequence[SloClass], deployment: Deployment
    ) -> None:
        if any(request.next_turn is not None for request in requests):
            raise ValueError("sessions have no bound: the scheduler decides when turns arrive")
        by_name = {slo_class.name: slo_class for slo_class in classes}
        default = next((slo_class for slo_class in classes if slo_class.default), classes[0])
        judges = [by_name.get(request.slo_class, default) for request in requests]
        self.class_names = np.array([judge.name for judge in judges], dtype=np.str_)
        ttft_s = np.array([judge.ttft_s for judge in judges])
        tbt_s = np.array([judge.tbt_s for judge in judges])

        block_size = deployment.limits.block_size
        prompt = np.array([float(request.prompt_tokens) for request in requests])
        gaps = np.array([_answer_tokens(each, deployment) - 1.0 for each in requests])
        common = np.zeros(len(requests))
        if deployment.limits.prefix_caching:
            common += _common_tokens(requests, block_size)
        uncached = prompt - np.minimum(common, (prompt - 1) // block_size * block_size)

        costs = StepTimes(deployment.model, deployment.hardware, deployment.tensor_parallel)
        token_s, sample_s = costs.min_prefill_token_s, costs.min_decode_token_s
        self._token_s = token_s
        self._weights_s = costs.min_weights_step_s
        self._kv_read_s = costs.kv_read_s_per_token
        self._hbm_tokens = deployment.hbm_blocks * block_size
        self._replicas = deployment.replicas
        self._arrival_s = np.array([request.arrival_s for request in requests])
        own = np.maximum(prompt - common, 0.0)
        self._prompts = prompts = _Part(
            deadline_s=self._arrival_s + ttft_s + ROUNDING,
            products_s=uncached * token_s + (sample_s - token_s),
            read_tokens=np.zeros(len(requests)),
            held_tokens=own,
        )
        self._answers = _Part(
            deadline_s=prompts.deadline_s + gaps * tbt_s,
            products_s=gaps * sample_s,
            read_tokens=_sum_of(prompt + 1, prompt + gaps),
            held_tokens=_sum_of(np.maximum(prompt - common + 1, 0.0), prompt - common + gaps),
        )
        # Alone, with a step for each token, it would be on time.
        self._possible = np.maximum(prompts.products_s, self._weights_s) <= ttft_s + ROUNDING
        self._possible &= gaps * max(sample_s, self._weights_s) <= gaps * tbt_s + ROUNDING

    def bound(self, wanted: NDArray[np.bool_]) -> float:
        """Return the bound on the share of the ``wanted`` requests."""
        num_wanted = int(wanted.sum())
        if not num_wanted:
            return 1.0
        chosen = wanted & self._possible
        most = float(chosen.sum())
        for share in SHARES:
            read_s = min(self._kv_read_s, share * self._token_s / 2)
            held_s = (1 - share) * self._weights_s / self._hbm_tokens
            prompt_s, answer_s = (
                share * part.products_s[chosen]
                + read_s * part.read_tokens[chosen]
                + held_s * part.held_tokens[chosen]
                for part in (self._prompts, self._answers)
            )
            pieces = Pieces(
                release_s=np.tile(self._arrival_s[chosen], 2),
                deadline_s=np.concatenate(
                    [self._prompts.deadline_s[chosen], self._answers.deadline_s[chosen]]
                ),
                work_s=np.concatenate([prompt_s, answer_s]),
                job_s=np.tile(prompt_s + answer_s, 2),
            )
            most = min(most, most_on_time(pieces, self._replicas))
        return math.floor(most + ROUNDING) / num_wanted


def _answer_tokens(request: SimRequest, deployment: Deployment) -> int:
    """How many it gets before a limit cuts it."""
    room = deployment.limits.max_model_len - request.prompt_tokens
    limit = room if request.max_tokens is None else min(request.max_tokens, room)
    return max(min(request.output_tokens, limit), 1)


def _common_tokens(requests: Sequence[SimRequest], block_size: int) -> list[int]:
    """Leading tokens of each request, prompt and answer, with which some other begins as well."""
    owners: dict[Hashable, int] = {}
    common = [0] * len(requests)
    for number, request in enumerate(requests):
        if request.content is None:
            continue
        for index in range((request.prompt_tokens + request.output_tokens) // block_size):
            key = request.content.block_key(index, block_size)
            owner = owners.setdefault(key, number) if key is not None else number
            if owner != number:
                end = (index + 1) * block_size
                common[number] = max(common[number], end)
                common[owner] = max(common[owner], end)
    return common


def _sum_of(first: Floats, last: Floats) -> Floats:
    """Sum of the whole numbers from ``first`` to ``last``; 0 of none."""
    return np.where(last < first, 0.0, (first + last) * (last - first + 1) / 2)
