"""What all pods of a kubelet share: this machine, and how pods run on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubelet.api import Api
from kubelet.cache import Cache
from kubelet.network import Network


@dataclass(frozen=True)
class Settings:
    """How pods run on this machine."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that every image brings, over PATH and HOME."""
    entrypoints: Mapping[str, list[str]] = field(default_factory=dict)
    """ENTRYPOINT of each image, for containers without a command."""
    missing_images: frozenset[str] = frozenset()
    """Images that cannot be pulled."""
    ignore_user: bool = True
    """Run all as root: the machine's Python may be readable by root only."""
    first_backoff_s: float = 10.0
    """How long a container waits after its second crash; each further wait is twice as long."""
    sync_s: float = 1.0
    """How often volumes, names and sizes are looked at again."""
    enforce_memory: bool = True
    """Kill containers that use more memory than their limit."""


@dataclass(frozen=True)
class Host:
    """The machine as its pods find it."""

    api: Api
    network: Network
    services: Cache
    slices: Cache
    folder: Path
    settings: Settings
