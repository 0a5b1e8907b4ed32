"""A recommendation as a change to the user's own file: the lines concerned and no others.

Whatever YAML can do, the result is right: it is read again, and refused unless it says exactly what
the old file says with the changes made.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from superinfer_contract.service import SuperInferService
from superinfer_contract.validation import ConfigError

from superinfer_runtime.sim.planning.spec import Change
from superinfer_runtime.sim.planning.yaml_edit import with_value


def patched(text: str, changes: Sequence[Change]) -> str:
    """Return the file ``text`` with ``changes`` made.

    Raises:
        ConfigError: this cannot be done in place, as where the value is an alias that stands
            elsewhere too; names the values to set by hand.
    """
    new = text
    try:
        wanted: Mapping[str, Any] = yaml.safe_load(text)
        for change in changes:
            new = with_value(new, change.path, change.value)
            wanted = _with(wanted, change.path, change.value)
        same = _service(yaml.safe_load(new)) == _service(wanted)
    except (yaml.YAMLError, ValueError) as error:
        raise _by_hand(changes) from error
    if not same:
        raise _by_hand(changes)
    return new


def unified_diff(old: str, new: str, file_name: str) -> str:
    """Return the difference as `diff -u` and `git apply` know it; empty if there is none."""
    lines = difflib.unified_diff(
        io.StringIO(old).readlines(),
        io.StringIO(new).readlines(),
        f"a/{file_name}",
        f"b/{file_name}",
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _service(data: Any) -> SuperInferService:
    return SuperInferService.model_validate(data)


def _with(data: Mapping[str, Any] | None, path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of ``data`` with the value set; what aliases share is shared no more on the way."""
    key, *rest = path
    old = data or {}
    return {**old, key: _with(old.get(key), rest, value) if rest else value}


def _by_hand(changes: Sequence[Change]) -> ConfigError:
    values = ", ".join(f"{'.'.join(change.path)}: {change.value}" for change in changes)
    return ConfigError(f"the file cannot be changed in place; set by hand {values}")
