"""Changing one value of a YAML text and nothing else: comments, order and style stay.

PyYAML tells where each node stands in the text; only those characters are replaced, and a missing
key becomes a new line at the end of its mapping (or a new entry, in a mapping written in braces).
What aliases and merge keys make of a change is not looked into: who edits, reads the result again.
"""

import json
from collections.abc import Sequence

import yaml

Scalar = str | int | None


def with_value(text: str, path: Sequence[str], value: Scalar) -> str:
    """Return ``text`` with ``value`` where the keys of ``path`` lead, all mappings on the way made.

    Args:
        text: one document, its top level a mapping.
        path: keys from the top level.
        value: a string must be one that YAML reads as itself without quotes.

    Raises:
        yaml.YAMLError: it cannot be parsed.
        ValueError: on the way stands something that is no mapping.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("the top level is not a mapping")
    quoted = bool(root.flow_style)  # JSON, or like it
    node: yaml.Node = root
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            if node.tag != "tag:yaml.org,2002:null":
                raise ValueError(f"{'.'.join(path[:depth])} is not a mapping")
            return _replaced(text, node, _in_braces(path[depth:], value, quoted))
        found = _value_of(node, key)
        if found is None:
            return _with_entry(text, node, path[depth:], value, quoted)
        node = found
    return _replaced(text, node, _scalar(value, quoted))


def _value_of(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    # Of two equal keys the last one counts.
    for key_node, value_node in reversed(mapping.value):
        if key_node.value == key:
            return value_node  # type: ignore[no-any-return]
    return None


def _replaced(text: str, node: yaml.Node, new: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    # Nothing at all after "key:" is a null, too.
    space = " " if start == end else ""
    return f"{text[:start]}{space}{new}{text[end:]}"


def _with_entry(
    text: str, mapping: yaml.MappingNode, path: Sequence[str], value: Scalar, quoted: bool
) -> str:
    if mapping.flow_style:
        entry = _in_braces(path, value, quoted)[1:-1]
        if not mapping.value:
            at = mapping.start_mark.index + 1
            return f"{text[:at]}{entry}{text[at:]}"
        at = _end(text, mapping.value[-1][1])
        return f"{text[:at]}, {entry}{text[at:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = mapping.value[0][0].start_mark.column
    lines = newline.join(" " * indent + line for line in _lines(path, value, quoted))
    end_of_line = text.find("\n", _end(text, mapping))
    if end_of_line < 0:
        return f"{text}{newline}{lines}{newline}"
    at = end_of_line + 1
    return f"{text[:at]}{lines}{newline}{text[at:]}"


def _end(text: str, node: yaml.Node) -> int:
    """Where the node's text ends; the end mark of a block is where the next thing starts."""
    if isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    return len(text[: node.end_mark.index].rstrip())


def _lines(path: Sequence[str], value: Scalar, quoted: bool) -> list[str]:
    """The entry as lines of a block; its innermost mapping in braces."""
    key, *rest = path
    if not rest:
        return [f"{key}: {_scalar(value, quoted)}"]
    if len(rest) == 1:
        return [f"{key}: {_in_braces(rest, value, quoted)}"]
    return [f"{key}:", *("  " + line for line in _lines(rest, value, quoted))]


def _in_braces(path: Sequence[str], value: Scalar, quoted: bool) -> str:
    inner = _scalar(value, quoted)
    for key in reversed(path):
        inner = f"{{{_scalar(key, quoted)}: {inner}}}"
    return inner


def _scalar(value: Scalar, quoted: bool) -> str:
    if value is None:
        return "null"
    return json.dumps(value) if quoted else str(value)
