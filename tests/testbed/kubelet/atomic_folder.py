"""A folder whose files change all at once, as the kubelet's atomic writer does it.

Every visible file is a link into ``..data``, which is itself a link to a dated folder; renaming
that one link swaps all files. A reader sees the old content or the new, never a mixture.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kubelet.projection import File


def write(folder: Path, files: Mapping[str, File]) -> bool:
    """Make ``folder`` hold exactly ``files``; return whether anything changed."""
    folder.mkdir(parents=True, exist_ok=True)
    current = folder / "..data"
    if current.exists() and _read(current) == dict(files):
        return False
    old = current.resolve() if current.exists() else None
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    fresh.chmod(0o755)
    for name, file in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(file.mode)
    _link(current, fresh.name)
    tops = {name.split("/")[0] for name in files}
    for top in tops:
        _link(folder / top, f"..data/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(old)
    return True


def _read(folder: Path) -> dict[str, File]:
    return {
        str(path.relative_to(folder)): File(path.read_bytes(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _link(path: Path, target: str) -> None:
    if path.is_symlink() and os.readlink(path) == target:
        return
    fresh = path.with_name(f"..link-{path.name}")
    fresh.symlink_to(target)
    fresh.rename(path)
