"""Where a model is meant to come from, told before vLLM starts to look for it."""

import os
from collections.abc import Mapping
from pathlib import Path

from superinfer_contract.validation import ConfigError

_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = frozenset({"1", "true", "yes", "on"})


def check_model(model: str, environment: Mapping[str, str]) -> None:
    """Check that ``model`` can be there: a path that exists, or a name that may be looked up.

    Raises:
        ConfigError: a path that does not exist; or a name while look-ups are off and the local
            cache does not have it.
    """
    if Path(model).expanduser().exists() or "://" in model:
        return
    if _looks_like_path(model):
        raise ConfigError(f"model: {model} does not exist")
    offline = next(
        (name for name in _OFFLINE_VARIABLES if environment.get(name, "").lower() in _TRUE), None
    )
    if offline and not _is_cached(model, environment):
        raise ConfigError(
            f"model: {model} is neither a local directory nor in the local model cache, and "
            f"{offline} forbids looking it up"
        )


def offline_environment(model: str) -> dict[str, str]:
    """Return variables that keep a local model from causing look-ups; a user's own ones win."""
    if not Path(model).expanduser().exists():
        return {}
    return {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _looks_like_path(model: str) -> bool:
    # A name is "model" or "owner/model".
    return model.startswith((".", "~", os.sep)) or model.count("/") > 1 or model.endswith("/")


def _is_cached(model: str, environment: Mapping[str, str]) -> bool:
    home = Path(
        environment.get("HF_HOME")
        or Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    hub = Path(environment.get("HF_HUB_CACHE") or home / "hub")
    return (hub / f"models--{model.replace('/', '--')}").is_dir()
