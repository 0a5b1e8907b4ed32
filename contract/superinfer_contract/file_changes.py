"""Mounted files that somebody replaces under way: a renewed certificate, a rotated key.

Kubernetes swaps a mounted Secret as a whole, so size, inode and time of modification tell.
"""

from pathlib import Path

_Stamp = tuple[tuple[int, int, int], ...]


class FileChanges:
    """Tells whether files are others than they were when last asked.

    >>> changed = FileChanges(Path("/etc/superinfer/tls/tls.crt"))
    >>> if changed():
    ...     read_again()
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._stamp = self._look()

    def __call__(self) -> bool:
        before, self._stamp = self._stamp, self._look()
        return before != self._stamp

    def _look(self) -> _Stamp:
        try:
            found = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)
