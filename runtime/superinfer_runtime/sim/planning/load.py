"""The load that a service is planned for: a recorded trace or a named scenario."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from superinfer_contract.service import ServiceSpec
from superinfer_contract.validation import ConfigError

from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.sim.request import SimRequest
from superinfer_runtime.sim.workload.replay import load
from superinfer_runtime.sim.workload.scenarios import scenarios


@dataclass(frozen=True, slots=True)
class Span:
    """How much of a load is taken."""

    duration_s: float
    seed: int
    max_model_len: int
    """In tokens; vLLM refuses a prompt that fills it."""


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """Requests by order of arrival, and where they come from."""

    name: str
    requests: Sequence[SimRequest]
    too_long: int
    """Requests left out because vLLM would refuse them."""

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last."""
        return self.requests[-1].arrival_s - self.requests[0].arrival_s


def class_mix(spec: ServiceSpec, shares: Sequence[str]) -> tuple[LoadClass, ...]:
    """Return the service's classes with the share of requests that each has in a trace.

    Args:
        spec: the service.
        shares: ``NAME:SHARE`` each; none: all requests are of the default class, as those that
            name none.

    Raises:
        ValueError: not of that form, or the service has no such class.
    """
    by_name = {slo_class.name: slo_class for slo_class in spec.slo_classes}
    mix = []
    for text in shares or (f"{spec.default_class.name}:1",):
        name, _, share = text.partition(":")
        if name not in by_name:
            raise ValueError(f"{text!r}: the service has the classes {', '.join(by_name)}")
        try:
            weight = float(share)
        except ValueError:
            raise ValueError(f"{text!r} is not NAME:SHARE, for instance {name}:0.7") from None
        mix.append(LoadClass(name, weight, by_name[name].ttft_s, by_name[name].tbt_s))
    return tuple(mix)


def traced_load(
    trace: Path, mix: Sequence[LoadClass], rate_per_s: float | None, span: Span
) -> PlannedLoad:
    """Return the beginning of a trace, at its own rate or at another.

    Raises:
        ConfigError: the file is unreadable or in no known format, or no request is left.
    """
    try:
        requests = load(
            trace,
            duration_s=span.duration_s,
            rate_per_s=rate_per_s,
            seed=span.seed,
            classes=mix,
        )
    except ValueError as error:  # a TraceError is one
        raise ConfigError(str(error)) from error
    return _servable(trace.name, requests, span.max_model_len)


def scenario_load(name: str, traces: Path | None, rate_per_s: float, span: Span) -> PlannedLoad:
    """Return a named workload; its requests are of the service's classes of the same name.

    Raises:
        ConfigError: there is no such scenario, its recording is missing, or no request is left.
    """
    known = scenarios(traces)
    if name not in known:
        raise ConfigError(f"unknown scenario {name!r}: choose one of {', '.join(known)}")
    try:
        requests = known[name].make(rate_per_s, span.duration_s, span.seed)
    except ValueError as error:
        raise ConfigError(f"scenario {name}: {error}") from error
    return _servable(name, requests, span.max_model_len)


def _servable(name: str, requests: Sequence[SimRequest], max_model_len: int) -> PlannedLoad:
    kept = [request for request in requests if request.prompt_tokens < max_model_len]
    if not kept:
        raise ConfigError(f"{name}: every prompt is longer than max-model-len ({max_model_len})")
    return PlannedLoad(name, kept, len(requests) - len(kept))
