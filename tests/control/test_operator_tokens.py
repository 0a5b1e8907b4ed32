"""Derived bearer tokens: they open one thing for one service, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from superinfer_contract.validation import ConfigError
from superinfer_operator.telemetry.authentication import service_tokens
from superinfer_operator.tokens import (
    FLEET,
    MIN_KEY_BYTES,
    Purpose,
    ServiceKey,
    fingerprint,
    fleet_token,
    read_keys,
    service_token,
    verify,
)

KEYS = st.binary(min_size=MIN_KEY_BYTES, max_size=64)
NAMESPACES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?", fullmatch=True)
PURPOSES = st.sampled_from(list(Purpose))
KEY, OTHER = b"k" * 32, b"o" * 32


@given(KEYS, PURPOSES, NAMESPACES, NAMES)
def test_a_token_names_its_service(key: bytes, purpose: Purpose, namespace: str, name: str) -> None:
    token = service_token(key, purpose, namespace, name)
    assert token.startswith(f"{namespace}.{name}.")
    assert verify([key], purpose, token) == ServiceKey(namespace, name)


@given(st.tuples(KEYS, PURPOSES, NAMESPACES, NAMES), st.tuples(KEYS, PURPOSES, NAMESPACES, NAMES))
def test_a_token_opens_nothing_else(
    one: tuple[bytes, Purpose, str, str], other: tuple[bytes, Purpose, str, str]
) -> None:
    key, purpose, namespace, name = other
    mac = service_token(*one).rpartition(".")[2]
    found = verify([key], purpose, f"{namespace}.{name}.{mac}")
    assert found == (ServiceKey(namespace, name) if one == other else None)


@pytest.mark.parametrize(
    ("purpose", "namespace", "name", "key"),
    [
        (Purpose.ADMIN, "team", "chat", KEY),
        (Purpose.OTLP, "tea", "mchat", KEY),
        (Purpose.OTLP, "team", "chat.a", KEY),
        (Purpose.OTLP, "other", "chat", KEY),
        (Purpose.OTLP, "team", "chat", OTHER),
        (Purpose.OTLP, "*", "*", KEY),
    ],
)
def test_near_misses_are_refused(purpose: Purpose, namespace: str, name: str, key: bytes) -> None:
    mac = service_token(key, purpose, namespace, name).rpartition(".")[2]
    assert verify([KEY], Purpose.OTLP, f"team.chat.{mac}") is None


@given(st.text() | st.builds(lambda t: f"team.chat.{t}", st.text()))
def test_garbage_is_refused_without_a_fault(garbage: str) -> None:
    assert verify([KEY], Purpose.OTLP, garbage) is None
    assert service_tokens(lambda: [KEY])(garbage) is None
    assert service_tokens(lambda: [KEY])(f"Bearer {garbage}") is None


def test_a_token_is_good_to_the_last_character() -> None:
    token = service_token(KEY, Purpose.OTLP, "team", "chat")
    for changed in (token + "A", token[:-1], token + "\n", " " + token, token.upper()):
        assert verify([KEY], Purpose.OTLP, changed) is None
    for at in range(len(token)):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert verify([KEY], Purpose.OTLP, changed) is None


def test_keys_are_rotated_without_a_gap() -> None:
    keys = [KEY]
    authenticate = service_tokens(lambda: keys)
    old = "Bearer " + service_token(KEY, Purpose.OTLP, "team", "chat")
    new = "Bearer " + service_token(OTHER, Purpose.OTLP, "team", "chat")
    assert (authenticate(old), authenticate(new)) == ("team/chat", None)
    keys = [OTHER, KEY]
    assert (authenticate(old), authenticate(new)) == ("team/chat", "team/chat")
    keys = [OTHER]
    assert (authenticate(old), authenticate(new)) == (None, "team/chat")
    keys = []
    assert authenticate(new) is None


def test_the_fleet_s_token_is_no_admin_s() -> None:
    assert verify([KEY], Purpose.OTLP, fleet_token(KEY)) == FLEET
    assert verify([KEY], Purpose.ADMIN, fleet_token(KEY)) is None
    assert str(FLEET) == "*/*"


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("", "a"), ("a", ""), ("a.b", "c"), ("A", "b"), ("a", "b/c"), ("a", ".")],
)
def test_impossible_names_get_no_token(namespace: str, name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a service"):
        service_token(KEY, Purpose.OTLP, namespace, name)


def test_a_fingerprint_changes_with_the_key_and_is_short() -> None:
    assert fingerprint(KEY) == fingerprint(KEY) != fingerprint(OTHER)
    assert len(fingerprint(KEY)) <= 63
    assert fingerprint(KEY) not in service_token(KEY, Purpose.OTLP, "team", "chat")


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (b"a" * 32, (b"a" * 32,)),
        (b"a" * 40 + b"\n", (b"a" * 40,)),
        (b"\n" + b"a" * 32 + b" \r\n\r\n" + b"b" * 32 + b"\n", (b"a" * 32, b"b" * 32)),
        (b"\xff\n" * 16, (b"\xff\n" * 16,)),
        (bytes(range(32)) + b"\n", (bytes(range(32)) + b"\n",)),
    ],
    ids=["one", "with newline", "two", "raw", "raw with newline"],
)
def test_keys_are_read_from_lines_or_raw(
    tmp_path: Path, content: bytes, keys: tuple[bytes, ...]
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    assert read_keys(path) == keys


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty; make one with"),
        (b"\n \n", "is empty"),
        (b"short\n", "key 1 has 5 bytes and needs at least 32"),
        (b"a" * 32 + b"\nshort\n", "key 2 has 5 bytes"),
        (b"\xff" * 31, "key 1 has 31 bytes"),
    ],
)
def test_a_bad_key_file_is_refused_with_advice(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_keys(path)
