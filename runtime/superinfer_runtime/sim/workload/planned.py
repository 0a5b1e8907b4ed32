"""Bench loads as simulated requests: `superinfer bench` and the simulator offer the identical load.

Requests come from the bench's own plan, so arrivals, classes and lengths follow from the workload
and its seed alone. Nothing tells a scheduler how long an answer will be: no request has a limit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat

from superinfer_contract.slo import SloClass

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.traces import TOKENS_PER_HASH, Trace, TracedRequest
from superinfer_runtime.bench.workload import PlannedRequest, Workload, plan
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.content import HashedPrompt


def requests_of(workload: Workload, *, prefix_reuse: bool = True) -> tuple[SimRequest, ...]:
    """Every request of ``workload`` in order of arrival.

    Args:
        prefix_reuse: let prompts share the prefixes that a replayed trace tells of. Lengths drawn
            from a trace share none: a prompt drawn twice would be found in the cache as a whole.

    Raises:
        ValueError: no request arrives within the duration.
    """
    replays_prefixes = prefix_reuse and workload.replays_arrivals
    return tuple(
        SimRequest(
            f"r{planned.index}",
            planned.arrival_s,
            planned.input_tokens,
            planned.output_tokens,
            planned.slo_class.name,
            content=_hashed_prompt(planned, traced) if traced else None,
        )
        for planned, traced in zip(
            plan(workload),
            _traced(workload) if replays_prefixes else repeat(None),
            strict=False,
        )
    )


def slo_classes_of(mix: Sequence[LoadClass]) -> tuple[SloClass, ...]:
    """The mix's objectives as a service states them; the first class is the default one."""
    return tuple(
        SloClass(
            name=load_class.name,
            ttft_s=load_class.ttft_s,
            tbt_s=load_class.tbt_s,
            default=index == 0,
        )
        for index, load_class in enumerate(mix)
    )


def with_lengths(
    requests: Iterable[SimRequest], lengths: Mapping[str, Trace], seed: int
) -> tuple[SimRequest, ...]:
    """``requests`` with lengths drawn for each class from a source of its own, by class name.

    The n-th request of a class has that source's n-th lengths, whatever the other classes do.
    """
    pairs = {name: source.lengths(seed) for name, source in lengths.items()}
    return tuple(_resized(request, next(pairs[request.slo_class])) for request in requests)


def _resized(request: SimRequest, lengths: tuple[int, int]) -> SimRequest:
    prompt_tokens, output_tokens = lengths
    return replace(request, prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def _traced(workload: Workload) -> Iterator[TracedRequest]:
    """The trace's requests; a plan that replays arrivals has one for each, in this order."""
    assert workload.trace is not None
    return workload.trace.requests(workload.seed)


def _hashed_prompt(planned: PlannedRequest, traced: TracedRequest) -> HashedPrompt | None:
    if traced.prefix_hashes is None or planned.slo_class.input_tokens is not None:
        return None  # a class with lengths of its own asks something else than the trace
    # The last hash may stand for fewer tokens than a whole one, and a long prompt may be cut.
    whole = planned.input_tokens // TOKENS_PER_HASH
    return HashedPrompt(traced.prefix_hashes[:whole], TOKENS_PER_HASH)
