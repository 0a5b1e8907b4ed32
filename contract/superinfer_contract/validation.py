"""Reading configuration files, and saying in one line each what is wrong with them."""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class ConfigError(Exception):
    """The configuration is refused; the message says what to change, one problem a line."""


def describe(error: ValidationError) -> str:
    """Return ``path: problem`` for each problem that pydantic found."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def load_mapping(path: Path) -> dict[str, Any]:
    """Read a JSON (``.json``) or YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file cannot be read, cannot be parsed, or holds something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    try:
        data = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}"
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise ConfigError(f"{path}{where}: not valid YAML: {problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: cannot be parsed: it is nested too deep") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What YAML's tags raise for values that do not fit them: a 13th month, !!int x.
        raise ConfigError(f"{path}: cannot be parsed: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the top level must be a mapping, not {type(data).__name__}")
    return data


def load_model(model: type[Model], path: Path) -> Model:
    """Read ``path`` as ``model``.

    Raises:
        ConfigError: see `load_mapping`; or the contents do not fit the model.
    """
    try:
        return model.model_validate(load_mapping(path))
    except ValidationError as error:
        problems = describe(error).splitlines()
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems)) from error
