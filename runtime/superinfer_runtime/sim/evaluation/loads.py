"""The workloads of a user: standard scenarios or a trace, in the standard classes or their own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from superinfer_contract.validation import ConfigError

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.traces import TraceError
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.planned import slo_classes_of
from superinfer_runtime.sim.workload.replay import load, open_trace
from superinfer_runtime.sim.workload.scenarios import Make, Scenario, scenarios


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A scenario's `make`: a trace in any format that `superinfer bench` reads."""

    path: Path
    mix: tuple[LoadClass, ...]
    own_pace: bool
    """Whether it arrives as it was recorded, whatever rate is asked for."""
    max_input_tokens: int | None
    max_output_tokens: int | None

    def __call__(self, rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
        return load(
            self.path,
            duration_s=duration_s,
            rate_per_s=None if self.own_pace else rate_per_s,
            seed=seed,
            classes=self.mix,
            max_input_tokens=self.max_input_tokens,
            max_output_tokens=self.max_output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Reclassed:
    """A scenario's `make`: another's requests, classes drawn anew; a session is of one class."""

    make: Make
    mix: tuple[LoadClass, ...]

    def __call__(self, rate_per_s: float, duration_s: float, seed: int) -> tuple[SimRequest, ...]:
        requests = self.make(rate_per_s, duration_s, seed)
        rng = Random(f"{seed}/classes")
        shares = [load_class.share for load_class in self.mix]
        drawn = rng.choices(self.mix, shares, k=len(requests))
        return tuple(
            _of_class(request, load_class.name)
            for request, load_class in zip(requests, drawn, strict=True)
        )


def trace_scenario(trace: TraceFile) -> Scenario:
    """Return ``trace`` as a scenario, under the file's name.

    Raises:
        ConfigError: the file is unreadable or in no known format.
    """
    try:
        description = open_trace(trace.path).name
    except TraceError as error:
        raise ConfigError(str(error)) from error
    return Scenario(trace.path.name, description, trace, slo_classes_of(trace.mix))


def standard_scenarios(
    names: Sequence[str], traces: Path | None, mix: tuple[LoadClass, ...] | None
) -> list[Scenario]:
    """Return the scenarios of these names, in ``mix`` instead of their own classes if it is given.

    Raises:
        ConfigError: there is no scenario of a name.
    """
    known = scenarios(traces)
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown scenario {name!r}: choose from {', '.join(known)}")
    chosen = [known[name] for name in names]
    if mix is None:
        return chosen
    return [
        replace(one, make=Reclassed(one.make, mix), classes=slo_classes_of(mix)) for one in chosen
    ]


def own_rate(scenario: Scenario, duration_s: float, seed: int) -> float:
    """Requests/s of a trace at its own pace, to three digits behind the point.

    Raises:
        ConfigError: it tells no arrivals, or none falls into the duration.
    """
    try:
        requests = scenario.make(0.0, duration_s, seed)
    except ValueError as error:
        raise ConfigError(f"{scenario.name}: {error}") from error
    gaps, last_s = len(requests) - 1, requests[-1].arrival_s
    return round(gaps / last_s if last_s > 0 else len(requests) / duration_s, 3)


def _of_class(request: SimRequest, name: str) -> SimRequest:
    following = request.next_turn
    if following is not None:
        following = replace(following, request=_of_class(following.request, name))
    return replace(request, slo_class=name, next_turn=following)
