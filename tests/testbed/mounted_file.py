"""Files as the kubelet replaces mounted ones: whoever reads sees the old content or the new."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of what ``path`` holds."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)
