"""Bearer tokens that the operator derives instead of storing.

One signing key (a mounted file) gives every service its tokens, so the operator writes Secrets and
never has to read one. A token names its service in the clear and proves it:
``<namespace>.<name>.<MAC>``, where the MAC (HMAC-SHA256, base64url) covers the purpose too, so
that a token for telemetry opens nothing else. A namespace has no dot, hence the parts are found
again whatever dots the name has.

Keys are rotated by putting the new one first: the first signs, all verify.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from superinfer_contract.validation import ConfigError

MIN_KEY_BYTES = 32
FINGERPRINT_CHARS = 16

_HOW_TO = "make one with: openssl rand -base64 48"

_NAMESPACE = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_TOKEN = re.compile(rf"({_NAMESPACE}|\*)\.({_NAME}|\*)\.([A-Za-z0-9_-]{{43}})", re.ASCII)


class Purpose(StrEnum):
    """What a token opens."""

    ADMIN = "admin"  # a runtime's budget routes
    OTLP = "otlp"  # the operator's telemetry receivers


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A service's identity; as text ``namespace/name``."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


FLEET = ServiceKey("*", "*")
"""All services: the identity of a collector that sends for many of them."""


def service_token(key: bytes, purpose: Purpose, namespace: str, name: str) -> str:
    """Return the token of service ``namespace/name``.

    Raises:
        ValueError: no such namespace or name can exist in Kubernetes.
    """
    token = f"{namespace}.{name}.{_mac(key, purpose, namespace, name)}"
    parts = _TOKEN.fullmatch(token)
    if parts is None or parts[1] != namespace:
        raise ValueError(f"{namespace}/{name} is not the name of a service")
    return token


def fleet_token(key: bytes) -> str:
    """Return the token with which one collector sends the telemetry of all services."""
    return service_token(key, Purpose.OTLP, FLEET.namespace, FLEET.name)


def verify(keys: Sequence[bytes], purpose: Purpose, token: str) -> ServiceKey | None:
    """Return whose ``token`` this is; None unless one of ``keys`` made it for ``purpose``.

    Takes the same time whichever key fits and however much of the MAC is right.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        return None
    namespace, name, given = parts.groups()
    fits = [hmac.compare_digest(given, _mac(key, purpose, namespace, name)) for key in keys]
    return ServiceKey(namespace, name) if any(fits) else None


def fingerprint(key: bytes) -> str:
    """Return a short text that changes with ``key`` and tells nothing of it."""
    return hmac.new(key, b"superinfer fingerprint", hashlib.sha256).hexdigest()[:FINGERPRINT_CHARS]


def read_keys(path: Path) -> tuple[bytes, ...]:
    """Read the signing keys: text with one key a line, newest first, or the raw bytes of one key.

    Raises:
        ConfigError: the file cannot be read, is empty, or holds a key that is too short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"signing key {path}: cannot be read: {error.strerror}") from error
    keys = _keys_in(content)
    if not keys:
        raise ConfigError(f"signing key {path}: is empty; {_HOW_TO}")
    for number, key in enumerate(keys, start=1):
        if len(key) < MIN_KEY_BYTES:
            raise ConfigError(
                f"signing key {path}: key {number} has {len(key)} bytes and needs at least "
                f"{MIN_KEY_BYTES}; {_HOW_TO}"
            )
    return keys


def _keys_in(content: bytes) -> tuple[bytes, ...]:
    lines = tuple(line.strip() for line in content.splitlines())
    is_text = all(32 <= byte < 127 or byte == 9 for line in lines for byte in line)
    return tuple(line for line in lines if line) if is_text else (content,)


def _mac(key: bytes, purpose: Purpose, namespace: str, name: str) -> str:
    said = "\0".join(("superinfer token", purpose, namespace, name)).encode()
    digest = hmac.new(key, said, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
