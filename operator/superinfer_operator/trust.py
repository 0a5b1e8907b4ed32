"""Authorities that certificates are checked against, in a file that may be replaced under way.

The operator has two: one for the runtimes' certificates, which it checks itself, and one for its
telemetry receivers', which it hands to the runtimes.
"""

import logging
import ssl
from pathlib import Path

from superinfer_contract.file_changes import FileChanges
from superinfer_contract.validation import ConfigError

LOG = logging.getLogger(__name__)


class Authorities:
    """The certificates of ``ca_file``; without one, the system's.

    Raises:
        ConfigError: the file is unusable at the start; later the last good one stays in force.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._file = ca_file
        self._changed = FileChanges(*([] if ca_file is None else [ca_file]))
        self._context, self._pem = _read(ca_file)

    def context(self) -> ssl.SSLContext:
        """Return what a client checks with; another object when the file changed."""
        self._refresh()
        return self._context

    def pem(self) -> str | None:
        """Return the file's text; None without one."""
        self._refresh()
        return self._pem

    def _refresh(self) -> None:
        if not self._changed():
            return
        try:
            self._context, self._pem = _read(self._file)
            LOG.info("CA bundle %s read anew", self._file)
        except ConfigError as error:
            LOG.warning("%s; the former one stays in force", error)


def _read(ca_file: Path | None) -> tuple[ssl.SSLContext, str | None]:
    try:
        # Empty data would mean the system's authorities.
        pem = None if ca_file is None else ca_file.read_text() or " "
        return ssl.create_default_context(cadata=pem), pem
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(
            f"CA bundle {ca_file}: {getattr(error, 'strerror', None) or error}; give certificates "
            "in PEM"
        ) from error
