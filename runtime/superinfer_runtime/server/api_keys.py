"""The keys of the OpenAI API: who may ask the model.

vLLM has ``--api-key`` for this; it does not suffice. Its keys stand on the command line and are
fixed at the start; it guards only what begins with /v1, /v2 or /inference, so `/invocations`,
which generates too, is open; and its refusal is not in OpenAI's shape. Here the keys are a file,
read again when it changes, and everything needs one but what `is_open` names.
"""

import contextlib
import hashlib
import hmac
from pathlib import Path

from starlette.types import Scope
from superinfer_contract.file_changes import FileChanges
from superinfer_contract.runtime_config import ServerConfig
from superinfer_contract.validation import ConfigError

OPEN_PATHS = frozenset({"/health", "/ping", "/metrics"})
"""vLLM's probes and its metrics. Our own routes never come here: see `front_door`."""


class ApiKeys:
    """The keys of one file. While it cannot be read the keys read last stay in force.

    A file that is emptied later admits nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = FileChanges(path)
        self._digests = _read(path)
        if not self._digests:
            raise ConfigError(f"server.api_key_file: {path} has no key; write one a line")

    @classmethod
    def of(cls, config: ServerConfig) -> "ApiKeys | None":
        """Return the keys of ``config``; None: the API is open.

        Raises:
            ConfigError: the file cannot be read, or has no key.
        """
        return None if config.api_key_file is None else cls(config.api_key_file)

    def accept(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header carries a key; takes the same time whichever."""
        if self._changed():
            with contextlib.suppress(ConfigError):
                self._digests = _read(self._path)
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip().encode())
        fits = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(fits) and scheme.lower() == "bearer"


def is_open(scope: Scope) -> bool:
    """Whether a request is answered without a key: probes, metrics, and CORS preflights."""
    if scope["type"] != "http":
        return False
    if scope["method"] == "OPTIONS":
        return True  # browsers send preflights without credentials
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return scope["method"] in ("GET", "HEAD") and path in OPEN_PATHS


def _read(path: Path) -> tuple[bytes, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"server.api_key_file: {path}: {error.strerror}") from error
    return tuple(_digest(key) for line in lines if (key := line.strip()))


def _digest(key: bytes) -> bytes:
    # Of equal length, so that comparing tells nothing of a key's.
    return hashlib.sha256(key).digest()
