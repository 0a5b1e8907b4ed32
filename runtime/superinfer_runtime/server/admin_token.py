"""The bearer token that guards `/v1/kv/budget`.

A token file is read again for each request, so a rotated Kubernetes secret takes effect without a
restart; while it cannot be read, the last token read stays in force.
"""

import contextlib
import hmac
from pathlib import Path

from superinfer_contract.runtime_config import ServerConfig
from superinfer_contract.validation import ConfigError


class AdminToken:
    """A token given literally, in a file, or not at all."""

    def __init__(self, literal: str | None = None, path: Path | None = None) -> None:
        self._path = path
        self._token = literal if path is None else _read(path)
        if self._token == "":
            raise ConfigError("server.admin_token: must not be empty")

    @classmethod
    def of(cls, config: ServerConfig) -> "AdminToken":
        """Return the token of ``config``.

        Raises:
            ConfigError: the token file cannot be read, or the token is empty.
        """
        given = config.admin_token
        literal = None if given is None else given.get_secret_value()
        return cls(literal, config.admin_token_file)

    @property
    def configured(self) -> bool:
        return self._token is not None

    def accepts(self, authorization: str | None) -> bool:
        """Whether an ``Authorization`` header carries the token; takes the same time if not."""
        if self._path is not None:
            # Half-way through a rotation the last one still counts.
            with contextlib.suppress(ConfigError):
                self._token = _read(self._path)
        scheme, _, given = (authorization or "").partition(" ")
        expected = (self._token or "").encode()
        same = hmac.compare_digest(given.strip().encode(), expected)
        return same and scheme.lower() == "bearer" and self.configured


def _read(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except (OSError, ValueError) as error:  # ValueError: not text, or no path at all
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"server.admin_token_file: {path}: {reason}") from error
    if not token:
        raise ConfigError(f"server.admin_token_file: {path} is empty")
    return token
