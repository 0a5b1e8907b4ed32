"""The signing keys in force: read again when their file changes, so rotating one needs no restart.

The newest key signs, all verify. A runtime reads its Secret when the kubelet brings it, so for a
while it may hold a token of either key; the operator tries them in turn.
"""

import logging
from pathlib import Path

from superinfer_contract.file_changes import FileChanges
from superinfer_contract.validation import ConfigError

from superinfer_operator.objects.platform import Tokens
from superinfer_operator.tokens import Purpose, fingerprint, read_keys, service_token

LOG = logging.getLogger(__name__)


class SigningKeys:
    """The keys of one file.

    Raises:
        ConfigError: the file is unusable at the start; later the keys read last stay in force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = FileChanges(path)
        self._keys = read_keys(path)

    def keys(self) -> tuple[bytes, ...]:
        """Return the keys, newest first."""
        if self._changed():
            try:
                self._keys = read_keys(self._path)
                LOG.info("signing keys read anew; the first is %s", fingerprint(self._keys[0]))
            except ConfigError as error:
                LOG.warning("%s; the former keys stay in force", error)
        return self._keys

    def tokens(self, namespace: str, name: str) -> Tokens:
        """Return the tokens of a service, made by the newest key."""
        key = self.keys()[0]
        return Tokens(
            admin=service_token(key, Purpose.ADMIN, namespace, name),
            otlp=service_token(key, Purpose.OTLP, namespace, name),
            fingerprint=fingerprint(key),
        )

    def admin_tokens(self, namespace: str, name: str) -> list[str]:
        """Return the tokens that a runtime of the service may hold, the newest first."""
        return [service_token(key, Purpose.ADMIN, namespace, name) for key in self.keys()]
