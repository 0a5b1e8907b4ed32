"""``podTemplate`` over the pod that the operator built.

Like kubectl's strategic merge, in the part that people need: objects merge field by field, lists of
named things merge by their names (mounts by their paths), all other values are replaced, and null
removes a field.
"""

from collections.abc import Mapping
from typing import Any

KEYS = ("mountPath", "devicePath", "name", "containerPort")
"""What tells a list's items apart, the most telling first: one volume may be mounted twice."""


def merged(base: Any, patch: Any) -> Any:
    """Return ``base`` with ``patch`` merged over it; neither is changed."""
    if isinstance(patch, Mapping):
        fields = base if isinstance(base, Mapping) else {}
        kept = {key: value for key, value in fields.items() if key not in patch}
        return kept | {
            key: merged(fields.get(key), value) for key, value in patch.items() if value is not None
        }
    if isinstance(patch, list):
        return _merged_list(base if isinstance(base, list) else [], patch)
    return patch


def _merged_list(base: list[Any], patch: list[Any]) -> list[Any]:
    for key in KEYS:
        if _is_told_apart(base, key) and _has(patch, key):
            result = {item[key]: item for item in base}
            for item in patch:
                result[item[key]] = merged(result.get(item[key]), item)
            return list(result.values())
    return [merged(None, item) for item in patch]


def _is_told_apart(items: list[Any], key: str) -> bool:
    return _has(items, key) and len({item[key] for item in items}) == len(items)


def _has(items: list[Any], key: str) -> bool:
    return all(isinstance(item, Mapping) and isinstance(item.get(key), str | int) for item in items)
