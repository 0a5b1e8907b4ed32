"""The plan of a run: which request arrives when, of which class, with which lengths.

A plan is a pure function of its `Workload`, seed included: two runs of one workload offer their
servers the identical load, whatever the servers do. Arrivals, classes and lengths draw from random
streams of their own, so that changing the rate leaves the n-th request's class and lengths alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from superinfer_runtime.bench.arrivals import ArrivalProcess, arrivals
from superinfer_runtime.bench.slo_mix import PAPER_MIX, LoadClass, check_mix
from superinfer_runtime.bench.traces import Trace


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """One request to send at `arrival_s` seconds after the start; lengths in tokens."""

    index: int
    arrival_s: float
    slo_class: LoadClass
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Workload:
    """What to offer. Needs `duration_s` or `max_requests`; the tighter of the two ends it.

    Without a trace, requests arrive at `request_rate` per second and have lengths around
    `input_tokens` and `output_tokens` (uniform within plus or minus `range_ratio` of them). A trace
    brings lengths, and its own arrivals unless `request_rate` is set; `trace_speedup` 2 halves its
    gaps. A class's own lengths go before either. `max_input_tokens` and `max_output_tokens` clamp
    whatever came out.

        Workload(request_rate=4, duration_s=30, input_tokens=200, output_tokens=100)
    """

    seed: int = 0
    duration_s: float | None = None
    max_requests: int | None = None
    process: ArrivalProcess = ArrivalProcess.POISSON
    request_rate: float | None = None
    burstiness: float = 1.0
    trace: Trace | None = None
    trace_speedup: float = 1.0
    input_tokens: int = 256
    output_tokens: int = 128
    range_ratio: float = 0.0
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    classes: tuple[LoadClass, ...] = PAPER_MIX

    def __post_init__(self) -> None:
        check_mix(self.classes)
        if self.duration_s is None and self.max_requests is None:
            raise ValueError("a load needs a duration or a greatest number of requests")
        for what, value in (
            ("the duration", self.duration_s),
            ("the greatest number of requests", self.max_requests),
            ("the request rate", self.request_rate),
            ("burstiness", self.burstiness),
            ("the trace's speedup", self.trace_speedup),
            ("the input length", self.input_tokens),
            ("the output length", self.output_tokens),
            ("the greatest input length", self.max_input_tokens),
            ("the greatest output length", self.max_output_tokens),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{what} must be above 0, not {value:g}")
        if not 0 <= self.range_ratio < 1:
            raise ValueError(
                f"the range ratio must be at least 0 and below 1, not {self.range_ratio:g}"
            )
        if self.process is not ArrivalProcess.GAMMA and self.burstiness != 1:
            raise ValueError(f"burstiness shapes gamma arrivals, not {self.process} ones")
        if self.request_rate is None and not (self.trace and self.trace.timed):
            raise ValueError(
                f"the trace {self.trace.name} has no arrival times: set a request rate"
                if self.trace
                else "set a request rate"
            )
        if not self.replays_arrivals and self.trace_speedup != 1:
            raise ValueError("the trace's speedup needs the trace's own arrivals (no request rate)")

    @property
    def replays_arrivals(self) -> bool:
        """Whether the trace says when requests arrive."""
        return self.trace is not None and self.request_rate is None


def plan(workload: Workload) -> tuple[PlannedRequest, ...]:
    """Every request of the load, in order of arrival.

    Raises:
        ValueError: no request arrives within the duration.
    """
    seed = workload.seed
    class_rng = Random(f"{seed}/classes")
    length_rng = Random(f"{seed}/lengths")
    shares = [load_class.share for load_class in workload.classes]
    requests: list[PlannedRequest] = []
    for arrival_s, traced_lengths in _offers(workload):
        if workload.duration_s is not None and arrival_s >= workload.duration_s:
            break
        slo_class = class_rng.choices(workload.classes, shares)[0]
        # Drawn for every request, used or not, so that one class's lengths do not shift another's.
        spread = (_spread(workload, length_rng), _spread(workload, length_rng))
        default = (workload.input_tokens * spread[0], workload.output_tokens * spread[1])
        input_tokens, output_tokens = traced_lengths or default
        if slo_class.input_tokens is not None and slo_class.output_tokens is not None:
            input_tokens = slo_class.input_tokens * spread[0]
            output_tokens = slo_class.output_tokens * spread[1]
        requests.append(
            PlannedRequest(
                len(requests),
                arrival_s,
                slo_class,
                _clamp(input_tokens, workload.max_input_tokens),
                _clamp(output_tokens, workload.max_output_tokens),
            )
        )
        if len(requests) == workload.max_requests:
            break
    if not requests:
        raise ValueError(
            f"no request arrives within {workload.duration_s:g} s: "
            "raise the rate, the speedup or the duration"
        )
    return tuple(requests)


def _offers(workload: Workload) -> Iterator[tuple[float, tuple[float, float] | None]]:
    trace, seed = workload.trace, workload.seed
    if workload.request_rate is None:
        assert trace is not None
        for request in trace.requests(seed):
            yield (
                request.arrival_s / workload.trace_speedup,
                (request.input_tokens, request.output_tokens),
            )
        return
    lengths = trace.lengths(seed) if trace else None
    for arrival_s in arrivals(
        workload.process, workload.request_rate, workload.burstiness, Random(f"{seed}/arrivals")
    ):
        yield arrival_s, next(lengths) if lengths else None


def _spread(workload: Workload, rng: Random) -> float:
    return rng.uniform(1 - workload.range_ratio, 1 + workload.range_ratio)


def _clamp(tokens: float, most: int | None) -> int:
    return max(1, round(tokens) if most is None else min(round(tokens), most))
