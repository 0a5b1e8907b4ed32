"""From the words of a command line to what is simulated."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from pydantic import ValidationError
from superinfer_contract.quantity import format_bytes, parse_bytes
from superinfer_contract.runtime_config import SchedulerKnobs
from superinfer_contract.validation import ConfigError, describe, load_mapping

from superinfer_runtime.bench.slo_mix import LoadClass, check_mix, parse_load_class
from superinfer_runtime.sim.deployment import Deployment
from superinfer_runtime.sim.machine.hardware import hardware
from superinfer_runtime.sim.machine.model_shape import ModelShape, known_model
from superinfer_runtime.sim.policies import POLICIES
from superinfer_runtime.sim.stock_scheduler import EngineLimits


def names(values: Iterable[str] | None) -> tuple[str, ...]:
    """Options given several times, or with commas, or both; each value once."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def rates(values: Iterable[str] | None, hint: str) -> tuple[float, ...]:
    """Numbers above 0."""
    found = []
    for text in names(values):
        number = _number(text)
        if not (math.isfinite(number) and number > 0):
            raise typer.BadParameter(f"{text!r} is not a number above 0", param_hint=hint)
        found.append(number)
    return tuple(dict.fromkeys(found))


def goals(values: Iterable[str] | None, hint: str) -> tuple[float, ...]:
    """Shares above 0 and at most 1, ascending."""
    found = rates(values, hint)
    for goal in found:
        if goal > 1:
            raise typer.BadParameter(f"{goal:g} is not a share of 1", param_hint=hint)
    return tuple(sorted(found))


def seeds(values: Iterable[str] | None, hint: str) -> tuple[int, ...]:
    found = []
    for text in names(values):
        try:
            found.append(int(text))
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a whole number", param_hint=hint) from None
    return tuple(dict.fromkeys(found))


def policies(values: Iterable[str] | None, hint: str) -> tuple[str, ...]:
    """All there are by default."""
    found = names(values)
    for name in found:
        if name not in POLICIES:
            known = ", ".join(POLICIES)
            raise typer.BadParameter(f"no policy {name!r}: choose from {known}", param_hint=hint)
    return found or tuple(POLICIES)


def mix(values: Sequence[str] | None, hint: str, *, lengths: bool) -> tuple[LoadClass, ...] | None:
    """As `superinfer bench` reads it; with ``lengths`` of their own or without. None: not given."""
    if not values:
        return None
    try:
        classes = tuple(map(parse_load_class, values))
        check_mix(classes)
        if not lengths and any(load_class.input_tokens for load_class in classes):
            raise ValueError("a scenario brings its own lengths")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
    return classes


def quantity(value: str | None, hint: str) -> int | None:
    try:
        return None if value is None else parse_bytes(value)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None


def knobs(values: Iterable[str] | None, hint: str) -> SchedulerKnobs:
    """``NAME=VALUE`` each, by the names of a RuntimeConfig's ``scheduler``."""
    given = dict(text.partition("=")[::2] for text in names(values))
    known = SchedulerKnobs.model_fields
    for name in given:
        if name not in known:
            raise typer.BadParameter(
                f"no knob {name!r}: choose from {', '.join(known)}", param_hint=hint
            )
    try:
        return SchedulerKnobs.model_validate(given)
    except ValidationError as error:
        raise typer.BadParameter(describe(error), param_hint=hint) from None


def model_shape(name: str) -> ModelShape:
    """A built-in model, or the one of a ``config.json`` (or of the folder that holds it).

    Raises:
        ConfigError: it is neither, or of a kind that is not simulated.
    """
    path = Path(name)
    try:
        if path.is_dir():
            path /= "config.json"
        if path.suffix == ".json":
            return ModelShape.from_config(load_mapping(path), path.resolve().parent.name)
        return known_model(name)
    except ValueError as error:
        raise ConfigError(f"--model {name}: {error}") from error


def deployment(
    model: str,
    preset: str,
    limits: EngineLimits,
    scheduler: SchedulerKnobs,
    *,
    tensor_parallel: int,
    replicas: int,
    hbm_kv_bytes: int | None,
    dram_kv_bytes: int | None,
) -> Deployment:
    """What serves; each part checked against the machine.

    Raises:
        ConfigError: a part is unknown, or the machine does not hold it.
    """
    shape = model_shape(model)
    try:
        machine = hardware(preset)
        if tensor_parallel > machine.num_gpus:
            raise ValueError(
                f"--tensor-parallel {tensor_parallel}: {machine.name} has {machine.num_gpus} GPUs "
                "a replica"
            )
        found = Deployment(
            shape,
            machine,
            limits,
            scheduler,
            tensor_parallel,
            replicas,
            dram_kv_bytes=dram_kv_bytes,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _check("--dram", dram_kv_bytes, 0, int(machine.dram_bytes) * tensor_parallel)
    most_bytes = found.max_hbm_blocks * found.block_bytes
    _check("--hbm", hbm_kv_bytes, found.block_bytes, most_bytes)
    return replace(found, hbm_kv_bytes=hbm_kv_bytes)


def _check(option: str, size_bytes: int | None, least: int, most: int) -> None:
    if size_bytes is not None and not least <= size_bytes <= most:
        raise ConfigError(
            f"{option} {format_bytes(size_bytes)}: a replica takes {format_bytes(least)} to "
            f"{format_bytes(most)} of KV there"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
