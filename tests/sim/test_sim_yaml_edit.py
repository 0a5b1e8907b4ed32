"""One value of a YAML text changes, and nothing else."""

from typing import Any

import pytest
from superinfer_runtime.sim.planning.yaml_edit import with_value


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("a: {b: 1}  # why\n", "a.b", 2, "a: {b: 2}  # why\n"),
        ("a: {b: '1'}\n", "a.c", "2Gi", "a: {b: '1', c: 2Gi}\n"),
        ("a: {}\n", "a.b", 2, "a: {b: 2}\n"),
        ("a:  # why\nc: 1\n", "a.b", 2, "a: {b: 2}  # why\nc: 1\n"),
        ("a: null\n", "a.b.c", 2, "a: {b: {c: 2}}\n"),
        ("a:\n  b: 1 # one\nc: 3\n", "a.d", 2, "a:\n  b: 1 # one\n  d: 2\nc: 3\n"),
        ("a:\n  b: 1\n\n# About c.\nc: 3\n", "a.d", 2, "a:\n  b: 1\n  d: 2\n\n# About c.\nc: 3\n"),
        ("a:\n  b: |\n    x\nc: 3\n", "a.d", 2, "a:\n  b: |\n    x\n  d: 2\nc: 3\n"),
        ("a:\n- b: 1\n", "c.d", 2, "a:\n- b: 1\nc: {d: 2}\n"),
        ("a: 1\n", "b.c.d", 2, "a: 1\nb:\n  c: {d: 2}\n"),
        ("a: 1", "b", None, "a: 1\nb: null\n"),
        ("a: 1\r\nb: 2\r\n", "c", 3, "a: 1\r\nb: 2\r\nc: 3\r\n"),
        ("a: 1\na: 2\n", "a", 3, "a: 1\na: 3\n"),
        ('{"a": {"b": "1Gi"}}', "a.b", "2Gi", '{"a": {"b": "2Gi"}}'),
        ('{"a": {"b": 1}}', "a.c", "2Gi", '{"a": {"b": 1, "c": "2Gi"}}'),
        ('{"a": {"b": 1}}', "d.c", None, '{"a": {"b": 1}, "d": {"c": null}}'),
    ],
)
def test_a_value_is_set_in_place(text: str, path: str, value: Any, expected: str) -> None:
    assert with_value(text, path.split("."), value) == expected


def test_a_value_on_the_way_is_no_mapping() -> None:
    with pytest.raises(ValueError, match=r"a\.b is not a mapping"):
        with_value("a: {b: 1}\n", ("a", "b", "c"), 2)
