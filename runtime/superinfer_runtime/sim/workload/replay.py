"""Traces at the rate one asks for, their own bursts kept.

A replay is sped up until its first ``rate x duration`` requests come at just that rate. So the rate
of a run is exact even where the trace's own rate drifts, and a higher rate replays the same
requests and then some more, closer together.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

from superinfer_runtime.bench.slo_mix import PAPER_MIX, LoadClass
from superinfer_runtime.bench.trace_file import read_trace
from superinfer_runtime.bench.workload import Workload
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.planned import requests_of

_ALL = sys.maxsize - 1

open_trace = lru_cache(maxsize=16)(read_trace)
"""`read_trace`, but a search over rates reads each file once."""


def at_rate(workload: Workload, rate_per_s: float) -> Workload:
    """``workload`` with ``rate_per_s`` requests a second on average, however they are spread.

    A replay keeps its requests and how they bunch up; a trace with fewer than it takes ends early.

    Raises:
        ValueError: the rate is not above 0, or a trace's requests all arrive at once.
    """
    if workload.trace is None or not workload.replays_arrivals:
        return replace(workload, request_rate=rate_per_s)
    if not rate_per_s > 0:
        raise ValueError(f"the request rate must be above 0, not {rate_per_s:g}")
    most = workload.max_requests or _ALL
    if workload.duration_s is not None:
        most = min(most, max(1, round(rate_per_s * workload.duration_s)))
    # One more than asked for: the gap after the last belongs to the time they take.
    replayed = list(islice(workload.trace.requests(workload.seed), most + 1))
    own_s = replayed[-1].arrival_s
    if own_s <= 0:
        raise ValueError(
            f"the first {len(replayed)} requests of the trace {workload.trace.name} arrive at "
            "once: raise the rate or the duration"
        )
    speedup = own_s * rate_per_s / (len(replayed) - 1)
    return replace(workload, trace_speedup=speedup, max_requests=most)


def load(
    path: Path,
    *,
    duration_s: float | None = None,
    rate_per_s: float | None = None,
    trace_speedup: float = 1.0,
    seed: int = 0,
    classes: Sequence[LoadClass] = PAPER_MIX,
    max_input_tokens: int | None = None,
    max_output_tokens: int | None = None,
    prefix_reuse: bool = True,
) -> tuple[SimRequest, ...]:
    """The requests of a trace file in any format that `superinfer bench` reads.

    Args:
        duration_s: seconds of arrivals; None: the whole trace.
        rate_per_s: rescale the trace's arrivals to it, see `at_rate`; a trace without arrivals gets
            Poisson ones. None: the trace's own.
        trace_speedup: the trace's own arrivals, so many times faster; not together with a rate.
        max_input_tokens: longer prompts are cut to it, and longer answers to the next.

    Raises:
        TraceError: the file is unreadable or in no known format.
        ValueError: the options contradict each other or the trace, or no request is left.
    """
    if rate_per_s is not None and trace_speedup != 1:
        raise ValueError("a rate and a speedup of the trace exclude each other")
    trace = open_trace(path)
    workload = Workload(
        seed=seed,
        duration_s=duration_s,
        max_requests=_ALL if duration_s is None and trace.timed else None,
        request_rate=None if trace.timed else rate_per_s,
        trace=trace,
        trace_speedup=trace_speedup,
        max_input_tokens=max_input_tokens,
        max_output_tokens=max_output_tokens,
        classes=tuple(classes),
    )
    if rate_per_s is not None:
        workload = at_rate(workload, rate_per_s)
    return requests_of(workload, prefix_reuse=prefix_reuse)
